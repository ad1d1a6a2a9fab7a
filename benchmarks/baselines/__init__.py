"""Other ways to do the same work, run for real beside ours."""
