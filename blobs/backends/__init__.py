"""Places where blobs live: a directory, or memory."""

from blobs.backends.base import Backend, BlobStat, Deleted, Oddity, Staged
from blobs.backends.local import LocalBackend
from blobs.backends.memory import MemoryBackend

__all__ = [
    "Backend",
    "BlobStat",
    "Deleted",
    "LocalBackend",
    "MemoryBackend",
    "Oddity",
    "Staged",
]
