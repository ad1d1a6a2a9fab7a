"""blobs: a content-addressed store of compressed files."""
