"""The directory of a store: found, made and locked, its small files written durably, errors of its disk told."""
