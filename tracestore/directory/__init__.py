"""The directory of a store: found, made and locked, its small files written durably, its disk's errors told."""
