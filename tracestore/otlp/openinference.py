"""OpenInference sends each message twice, raw and flattened: one copy is kept where both say the same."""

from typing import Any


def without_copies(request: dict[str, Any], response: dict[str, Any]) -> None:
    """Take out flattened content that the raw ``input.value`` and ``output.value`` hold as well."""
