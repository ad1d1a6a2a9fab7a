"""FORMAT says that a store has packs, before it has one: a release that cannot read them refuses it."""

import os

from blobs import durable, layout
from blobs.packs.pack import open_file


def require_packs(root_fd: int) -> None:
    """Write it down, durably, unless it is written; lets OSError and FormatUnknown through."""
    fd = open_file(root_fd, layout.FORMAT)
    try:
        required = layout.check_format(os.read(fd, 4096))
    finally:
        os.close(fd)
    if layout.PACKS_REQUIRED not in required:
        content = layout.format_text([layout.PACKS_REQUIRED])
        durable.write_file(root_fd, layout.FORMAT, layout.FORMAT_STAGED, content)
