"""tracestore: the flight recorder for LLM applications."""
