"""Measurements of the store, side by side with a baseline in the same run; see README.md."""
