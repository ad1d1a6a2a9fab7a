"""One module per command; each holds ``command`` and is loaded when it is called."""
