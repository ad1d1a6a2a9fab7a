"""Commands that look at what is stored, and change nothing."""
