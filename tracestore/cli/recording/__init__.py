"""Commands that bring records in."""
