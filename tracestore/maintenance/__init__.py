"""Work on a store as a whole: what should go, what goes, and whether all is as it should be."""
