"""Where a blob lies: digest to path and back. Pure.

    STORE/
      FORMAT                  {"format":1,"digest":"blake3-256","requires":[]}, written once
      objects/ab/<64 hex>.gz  one blob: one gzip member, mode 0400; `ab` = first two characters
      packs/                  reserved for a later tier of cold blobs
      stage/<batch>/<64 hex>  blobs on their way in; whatever a crash left here is garbage
      quarantine/             damaged blobs, strangers: set aside, never deleted by this package

Directories appear when first needed. A name that does not fit the drawing is not a blob:
listing passes over it and verify reports it. FORMAT is the contract with other releases: an
unknown version, an unknown digest or any entry in `requires` is refused, never guessed at.
"""

import json
import re
from collections.abc import Callable
from itertools import chain, count

from blobs.digest import Digest
from blobs.errors import FormatUnknown

FORMAT = "FORMAT"
FORMAT_STAGED = "FORMAT.new"  # FORMAT before its rename; alone in a directory it means an unfinished creation
OBJECTS = "objects"
PACKS = "packs"
STAGE = "stage"
QUARANTINE = "quarantine"
DIRECTORIES = frozenset({OBJECTS, PACKS, STAGE, QUARANTINE})
KNOWN_NAMES = frozenset({FORMAT, FORMAT_STAGED, *DIRECTORIES})

FORMAT_VERSION = 1
DIGEST_NAME = "blake3-256"
SUFFIX = ".gz"

FILE_MODE = 0o400
"""Of every file: bodies hold what people typed, and never change."""
DIRECTORY_MODE = 0o700

_BLOB_NAME = re.compile(r"([0-9a-f]{64})\.gz", re.ASCII)
_SHARD_NAME = re.compile(r"[0-9a-f]{2}", re.ASCII)


def shard_of(digest: Digest) -> str:
    """Return the directory of a blob under `objects`."""
    return digest.hex()[:2]


def blob_name(digest: Digest) -> str:
    """Return the file name of a blob."""
    return digest.hex() + SUFFIX


def blob_path(digest: Digest) -> str:
    """Return the path of a blob under the root of the store."""
    name = digest.hex()
    return f"{OBJECTS}/{name[:2]}/{name}{SUFFIX}"


def parse_blob_name(name: str) -> Digest | None:
    """Read a file name back into its digest; None when it is not the name of a blob."""
    match = _BLOB_NAME.fullmatch(name)
    return Digest.parse(match[1]) if match else None


def is_shard_name(name: str) -> bool:
    """Tell whether a directory under `objects` may hold blobs."""
    return _SHARD_NAME.fullmatch(name) is not None


def free_name(path: str, is_taken: Callable[[str], bool]) -> str:
    """Return a name for something in quarantine/: that of its path, numbered where it is taken."""
    name = path.rpartition("/")[2]
    return next(n for n in chain([name], (f"{name}.{i}" for i in count(1))) if not is_taken(n))


def format_text() -> bytes:
    """Return the content of FORMAT."""
    content = {"format": FORMAT_VERSION, "digest": DIGEST_NAME, "requires": []}
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def check_format(text: bytes) -> None:
    """Raise FormatUnknown unless this release can read a store with this FORMAT."""
    wanted = f"format {FORMAT_VERSION} with {DIGEST_NAME} and no requirements"
    try:
        content = json.loads(text)
    except ValueError:
        raise FormatUnknown(f"wanted {wanted}, found {text[:80]!r}; restore FORMAT from a backup") from None
    if not isinstance(content, dict):
        raise FormatUnknown(f"wanted {wanted}, found {text[:80]!r}; restore FORMAT from a backup")
    found = (content.get("format"), content.get("digest"), content.get("requires"))
    if found != (FORMAT_VERSION, DIGEST_NAME, []) or isinstance(found[0], bool):
        raise FormatUnknown(f"wanted {wanted}, found {text[:200]!r}; open it with the release that wrote it")
