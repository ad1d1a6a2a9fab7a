"""Bodies as agents send them, and a few ways to pack and to look at what was packed."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blobs import BlobStore, Digest, Run, durable
from blobs.packs import format as pack_format
from blobs.packs import packing

LATER_S = 4_000_000_000.0


def words(seed: int, count: int = 12) -> bytes:
    """Bytes of 64 characters each, the same for the same seed, and not to be compressed by themselves."""
    return b" ".join(hashlib.sha256(b"%d %d" % (seed, n)).hexdigest().encode() for n in range(count))


class Kit:
    """What the tests of packs do again and again, over one directory."""

    LATER_S = LATER_S
    words = staticmethod(words)

    def __init__(self, root: Path) -> None:
        self.root = root

    def turns(self, conversation: int, count: int) -> dict[Digest, bytes]:
        """The bodies of a conversation: each holds all that came before."""
        said = [words(conversation * 1000 + n, 3) for n in range(count)]
        bodies = [b"\n".join(said[: n + 1]) for n in range(count)]
        return {Digest.of(body): body for body in bodies}

    def runs(self, digests) -> list[Run]:
        """Everything is one run on one shelf, in the order of digests."""
        return [Run(0, sorted(digests))] if digests else []

    def files(self, *suffixes: str) -> list[Path]:
        """The files in packs/ by suffix."""
        return sorted(path for path in (self.root / "packs").glob("*") if path.suffix in suffixes or not suffixes)

    def harmful(self, store: BlobStore) -> list[tuple[str, str, str]]:
        """What a thorough look finds, but for what does no harm."""
        return [(f.kind, f.path, f.detail) for f in store.verify(data=True) if not f.harmless]

    def leftovers(self) -> list[Path]:
        """Files of packs that were never finished."""
        return self.files(".new")

    def holds(self, store: BlobStore, bodies: dict[Digest, bytes]) -> None:
        """Everything is there, and it is right."""
        wrong = [digest for digest, body in bodies.items() if store.get(digest) != body]
        assert wrong == []
        assert dict(store.get_many(bodies)) == bodies

    def overwrite(self, path: Path, content: bytes) -> None:
        """Another hand changes a file that is never changed."""
        path.chmod(0o600)
        path.write_bytes(content)
        path.chmod(0o400)

    def flip(self, path: Path, at: int, bits: int = 1) -> None:
        """Change a byte of a file; negative counts from its end."""
        content = bytearray(path.read_bytes())
        content[at] ^= bits
        self.overwrite(path, bytes(content))

    def staged(self, store: BlobStore, bodies: dict[Digest, bytes]) -> None:
        """Let a batch come in as a pack, however small it is."""
        store.publish(packing.stage(store._tier, bodies))

    def du(self) -> int:
        """Bytes of all files as `du` counts them; directories keep what they once grew to."""
        return sum(os.lstat(path).st_blocks * 512 for path in self.root.rglob("*") if not path.is_dir())


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """That syncs come where they must is tested by the order of steps; the disk itself need not take part."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    monkeypatch.setattr(durable, "sync_filesystem", lambda fd: None)


@pytest.fixture
def kit(root: Path) -> Kit:
    return Kit(root)


@pytest.fixture
def reopened(root: Path, local: BlobStore) -> Iterator[Callable[[], BlobStore]]:
    """`reopened()` opens the directory of `local` once more, as the next process would."""
    opened = []

    def again() -> BlobStore:
        for store in (local, *opened):
            store.close()
        opened.append(BlobStore(root, create=False))
        return opened[-1]

    yield again
    for store in opened:
        store.close()


@pytest.fixture
def colliding(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`colliding(bits)` leaves keys so few bits that digests share them."""

    def few(bits: int) -> None:
        def key_of(digest: bytes) -> int:
            return digest[0] >> (8 - bits)

        for module in _users_of_keys():
            monkeypatch.setattr(module, "key_of", key_of)

    return few


def _users_of_keys() -> list[object]:
    real = pack_format.key_of
    return [m for name, m in sys.modules.items() if name.startswith("blobs") and getattr(m, "key_of", None) is real]
