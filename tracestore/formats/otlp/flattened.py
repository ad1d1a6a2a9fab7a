"""Flattened attributes (``0.message.tool_calls.1.name``) back to the lists and objects they were."""

from typing import Any

_DEPTH_LIMIT = 32


class _Node(dict[str, Any]):
    """A level of names, told apart from a value that is a dict itself."""


def nested(flat: dict[str, Any]) -> Any:
    """Return the structure whose names these are; the flat names themselves where they contradict each other."""
    root = _Node()
    for name, value in flat.items():
        *path, last = name.split(".")
        node = root
        if len(path) > _DEPTH_LIMIT:
            return dict(flat)
        for part in path:
            below = node.get(part)
            if below is None and part not in node:
                below = node[part] = _Node()
            if not isinstance(below, _Node):
                return dict(flat)
            node = below
        if last in node:
            return dict(flat)
        node[last] = value
    return _structure(root)


def _structure(node: _Node) -> Any:
    """Turn levels named 0, 1, 2 ... into lists; a gap would move what comes behind it, so it stays an object."""
    found = {name: _structure(below) if type(below) is _Node else below for name, below in node.items()}
    if "0" in found and all(str(index) in found for index in range(len(found))):
        return [found[str(index)] for index in range(len(found))]
    return found
