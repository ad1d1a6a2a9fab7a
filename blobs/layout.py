"""Where a blob lies: digest to path and back. Pure.

    STORE/
      FORMAT                  {"format":1,"digest":"blake3-256","requires":[]}, written once
      objects/ab/<64 hex>.gz  one blob: one gzip member, mode 0400; `ab` = first two characters
      packs/<64 hex>.pack     many cold blobs each, named by the BLAKE3 of the file; see `packs.format`
      packs/<64 hex>.dead     which of them nothing names any more
      stage/<batch>/<64 hex>  blobs on their way in; whatever a crash left here is garbage
      quarantine/             damaged blobs, strangers: set aside, never deleted by this package

Directories appear when first needed. A name that does not fit the drawing is not a blob:
listing passes over it and verify reports it. FORMAT is the contract with other releases: an
unknown version, an unknown digest or any entry in `requires` is refused, never guessed at.
"""

import json
import re
from collections.abc import Callable, Sequence
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
PACKS_REQUIRED = "packs-1"
"""What a store with packs requires, so that an older release refuses instead of missing what is in them."""
SUFFIX = ".gz"
PACK_SUFFIX = ".pack"
DEAD_SUFFIX = ".dead"
UNFINISHED = ".new"
"""Behind the name of a file in packs/ that is being written; garbage after a crash."""

FILE_MODE = 0o400
"""Of every file: bodies hold what people typed, and never change."""
DIRECTORY_MODE = 0o700

_BLOB_NAME = re.compile(r"([0-9a-f]{64})\.gz", re.ASCII)
_PACK_NAME = re.compile(r"([0-9a-f]{64})(\.pack|\.dead)", re.ASCII)
_UNFINISHED_NAME = re.compile(r"(?:[0-9a-f]{16}|[0-9a-f]{64}\.dead)\.new", re.ASCII)
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


def pack_name(name: Digest) -> str:
    """Return the file name of a pack."""
    return name.hex() + PACK_SUFFIX


def dead_name(name: Digest) -> str:
    """Return the name of the file that says which bodies of a pack are dead."""
    return name.hex() + DEAD_SUFFIX


def pack_path(name: Digest) -> str:
    """Return the path of a pack under the root of the store."""
    return f"{PACKS}/{pack_name(name)}"


def parse_pack_name(name: str) -> tuple[Digest, str] | None:
    """Read a file name in packs/ back into the pack and the suffix; None when it is neither of the two."""
    match = _PACK_NAME.fullmatch(name)
    return (Digest.parse(match[1]), match[2]) if match else None


def is_unfinished_name(name: str) -> bool:
    """Tell whether a file in packs/ is one that is being written, or was when its writer died."""
    return _UNFINISHED_NAME.fullmatch(name) is not None


def is_shard_name(name: str) -> bool:
    """Tell whether a directory under `objects` may hold blobs."""
    return _SHARD_NAME.fullmatch(name) is not None


def free_name(path: str, is_taken: Callable[[str], bool]) -> str:
    """Return a name for something in quarantine/: that of its path, numbered where it is taken."""
    name = path.rpartition("/")[2]
    return next(n for n in chain([name], (f"{name}.{i}" for i in count(1))) if not is_taken(n))


def format_text(requires: Sequence[str] = ()) -> bytes:
    """Return the content of FORMAT."""
    content = {"format": FORMAT_VERSION, "digest": DIGEST_NAME, "requires": list(requires)}
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def check_format(text: bytes) -> Sequence[str]:
    """Return what a store with this FORMAT requires; FormatUnknown unless this release can read it."""
    wanted = f"format {FORMAT_VERSION} with {DIGEST_NAME} and no requirements but {PACKS_REQUIRED}"
    try:
        content = json.loads(text)
    except ValueError:
        raise FormatUnknown(f"wanted {wanted}, found {text[:80]!r}; restore FORMAT from a backup") from None
    if not isinstance(content, dict):
        raise FormatUnknown(f"wanted {wanted}, found {text[:80]!r}; restore FORMAT from a backup")
    version, digest, requires = content.get("format"), content.get("digest"), content.get("requires")
    is_known = version == FORMAT_VERSION and digest == DIGEST_NAME and requires in ([], [PACKS_REQUIRED])
    if not is_known or isinstance(version, bool):
        raise FormatUnknown(f"wanted {wanted}, found {text[:200]!r}; open it with the release that wrote it")
    return tuple(requires or ())
