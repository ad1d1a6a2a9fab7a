"""The two content types of OTLP/HTTP, parameters aside."""

from tracestore.errors import InputInvalid

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


def is_json(content_type: str) -> bool:
    """Tell JSON from protobuf; InputInvalid for anything else."""
    found = media_type(content_type)
    if found not in (JSON, PROTOBUF):
        raise InputInvalid(f"Content-Type: wanted {PROTOBUF} or {JSON}, found {content_type[:100]!r}")
    return found == JSON


def media_type(content_type: str) -> str:
    """Return a content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()
