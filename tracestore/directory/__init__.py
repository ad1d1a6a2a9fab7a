"""The directory of a store: found, made and locked, and its small files written durably."""
