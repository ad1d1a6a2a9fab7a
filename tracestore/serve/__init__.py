"""The HTTP server of a store: OTLP in, answers out, in the process that collects."""
