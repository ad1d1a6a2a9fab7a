"""The contract between the store and a place where stored bytes live.

A backend keeps stored bytes under digests. It neither compresses nor hashes, and knows nothing
of who refers to a blob. What every backend promises:

- Writing has two halves. `stage` makes bytes durable where no reader sees them; `publish` makes
  them visible, and durable under their names, before it returns. A crash between the halves
  leaves garbage that `clear_leftovers` removes.
- A blob is visible whole or not at all. Publishing over an existing blob replaces it.
- An error in making bytes durable aborts the batch: nothing of it may be relied upon, and the
  caller stages it anew. It is never answered by trying the same sync again.
- Failures of the place raise BlobsUnavailable; nothing else foreign leaves a backend.
- Calls may come from several threads, but one backend at a time writes to a place.

A bucket without rename and modification times fits as well: `stage` uploads under keys that
are never used again, and `publish` writes down which of them count.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from blobs.digest import Digest


@dataclass(frozen=True, slots=True)
class BlobStat:
    """What a place knows of a blob without reading it."""

    digest: Digest
    stored_bytes: int
    """Size of its file; 0 for one in a pack, which has none."""
    allocated_bytes: int
    """Bytes the blob really takes up, as `du` counts them; in a pack its share of what is compressed together."""
    is_packed: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What a place takes up as a whole, with everything that is no blob."""

    files: int
    allocated_bytes: int
    """Bytes of files and directories, as `du` counts them."""


@dataclass(frozen=True, slots=True, eq=False)
class Staged:
    """A batch that is durable but not yet visible; good for one `publish` or `discard`."""

    token: str
    stored_bytes: Mapping[Digest, int]
    """Size of the file of each blob in the batch; 0 in a pack."""
    pack: Digest | None = None
    """Name of the pack that the batch is, where it is one."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a deletion did: files, or what stands for one; the bytes are those really returned to the place."""

    blobs: int = 0
    bytes_reclaimed: int = 0

    def __add__(self, other: "Deleted") -> "Deleted":
        return Deleted(self.blobs + other.blobs, self.bytes_reclaimed + other.bytes_reclaimed)


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something in the place that is not a blob where a blob should be."""

    kind: Literal["leftover", "misplaced", "mode", "stranger", "symlink"]
    path: str
    detail: str
    digest: Digest | None = None


class Backend(Protocol):
    """A place where blobs live."""

    def where(self, digest: Digest | None = None) -> str:
        """Name the place, or the seat of one blob in it, for a person."""

    def stage(self, items: Iterable[tuple[Digest, bytes]]) -> Staged:
        """Make stored bytes durable yet invisible. On an error nothing stays behind."""

    def publish(self, staged: Staged, known: Collection[Digest] = ()) -> None:
        """Make a staged batch visible and durable, and blobs known to be there durable with it.

        A known blob that is not there raises BlobNotFound.
        """

    def discard(self, staged: Staged) -> None:
        """Throw a staged batch away; one that was published or discarded is left alone."""

    def read(self, digest: Digest, limit_bytes: int, fresh: bool = False) -> bytes:
        """Return the stored bytes; BlobNotFound, or BlobCorrupt when there are more than the limit.

        `fresh` asks for what the place itself holds, past every cache that can be dropped.
        """

    def stat(self, digest: Digest) -> BlobStat | None:
        """Return sizes, or None when there is no such blob. One round trip.

        A blob whose publication failed counts as absent until it is published again.
        """

    def delete(self, digests: Sequence[Digest]) -> Deleted:
        """Remove blobs; one that is not there is no error and is not counted."""

    def list(self) -> Iterator[BlobStat]:
        """Yield every blob in ascending order of digests.

        Blobs that come or go meanwhile may be seen or not; all others are seen exactly once.
        """

    def usage(self) -> Usage:
        """Measure everything the place holds."""

    def protect(self, path: str) -> None:
        """Give a file the mode it was made with; one that is not there is left alone."""

    def files(self, path: str) -> Iterator[str]:
        """Yield the paths of the regular files at or below a path, as findings name them; links are not followed."""

    def read_file(self, path: str, limit_bytes: int) -> bytes:
        """Return what a file holds that is no blob in its seat: a finding's, or one in quarantine/.

        FileNotFoundError when nothing to read is there, BlobCorrupt when there is more than the limit.
        """

    def name_aside(self, path: str) -> str:
        """Return a name in quarantine/ that is free for what is at a path."""

    def set_aside(self, path: str, name: str) -> str:
        """Move whatever is at a path into quarantine/ under a name that is free there; return where it is now.

        Durable on return. FileNotFoundError when nothing is at the path.
        """

    def erase(self, path: str) -> None:
        """Unlink a file in quarantine/, durably; one that is not there is no error."""

    def clear_leftovers(self) -> Deleted:
        """Remove staged bytes that no living batch owns."""

    def oddities(self) -> Iterator[Oddity]:
        """Yield everything in the place that `list` passes over or that should not be as it is."""

    def close(self) -> None:
        """Let go of the place; may be called twice."""
