"""Every kind of damage is found, and what is whole is not accused."""

import errno
import gzip
import os
from pathlib import Path

import pytest

from blobs import BlobStore, BlobsUnavailable, Digest, codec, layout
from blobs.backends import MemoryBackend

BODY = b'{"role":"user","content":"hello, hello"}' * 3
DIGEST = Digest.of(BODY)


def path_of(root: Path, digest: Digest = DIGEST) -> Path:
    path = root / layout.blob_path(digest)
    if path.exists():
        path.chmod(0o400)
    return path


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o400)


def found(store: BlobStore, data: bool = True) -> list[tuple[str, str]]:
    return [(finding.kind, finding.path) for finding in store.verify(data)]


def test_a_good_store_has_no_findings(store):
    store.put_many([BODY, b"", os.urandom(5000), *(b"%d" % n for n in range(200))])
    assert found(store) == []
    assert found(store, data=False) == []


def test_every_flipped_bit_is_found():
    backend = MemoryBackend()
    store = BlobStore.over(backend)
    store.put(BODY)
    whole = backend.blobs[DIGEST]
    kinds = set()
    for bit in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        backend.blobs[DIGEST] = bytes(damaged)
        (finding,) = store.verify(data=True)
        assert finding.digest == DIGEST
        kinds.add(finding.kind)
        if finding.kind == "flipped":
            assert store.get(DIGEST) == BODY, "flipped says that the body is whole"
    assert kinds == {"corrupt", "flipped"}


def test_every_truncation_and_zero_filled_tail_is_found():
    backend = MemoryBackend()
    store = BlobStore.over(backend)
    store.put(BODY)
    whole = backend.blobs[DIGEST]
    for size in range(len(whole)):
        for damaged in (whole[:size], whole[:size] + bytes(len(whole) - size)):
            if damaged == whole:
                continue
            backend.blobs[DIGEST] = damaged
            assert [finding.kind for finding in store.verify(data=True)] in (["corrupt"], ["flipped"])
            if len(damaged) < len(whole):
                assert [finding.kind for finding in store.verify(data=True)] == ["corrupt"]


def test_a_blob_too_short_is_found_without_reading(local, root):
    local.put(BODY)
    overwrite(path_of(root), b"")
    assert found(local, data=False) == [("corrupt", layout.blob_path(DIGEST))]


def test_two_swapped_files_are_found(local, root):
    other = local.put(b"other")
    local.put(BODY)
    one, two = path_of(root), path_of(root, other)
    content = one.read_bytes()
    overwrite(one, two.read_bytes())
    overwrite(two, content)
    findings = list(local.verify(data=True))
    assert [finding.digest for finding in findings] == sorted([DIGEST, other])
    assert {finding.kind for finding in findings} == {"corrupt"}
    assert str(other) in next(f.detail for f in findings if f.digest == DIGEST)


def test_findings_come_in_ascending_order_whatever_the_thread():
    backend = MemoryBackend()
    store = BlobStore.over(backend)
    digests = sorted(store.put_many([b"%d" % n for n in range(500)]))
    for digest in digests[::3]:
        backend.blobs[digest] = backend.blobs[digest][:-1]
    assert [finding.digest for finding in store.verify(data=True)] == digests[::3]


def test_odd_things_are_reported(local, root, tmp_path):
    local.put(BODY)
    shard = path_of(root).parent
    wrong = Digest.of(b"of another shard")
    (shard / "notes.txt").write_text("x")
    (shard / layout.blob_name(wrong)).write_bytes(codec.encode(b"of another shard"))
    (shard / f"{DIGEST}.gz~").mkdir()
    linked = layout.blob_path(DIGEST)[:-4] + ("0" if str(DIGEST)[-1] != "0" else "1") + ".gz"
    (root / linked).symlink_to(path_of(root))
    (root / "objects" / "zz").mkdir()
    (root / "objects" / "ff").symlink_to(tmp_path)
    (root / "README").write_text("x")
    (root / "packs").symlink_to(tmp_path)
    (root / "stage" / "0123").mkdir()
    path_of(root).chmod(0o644)
    relative = f"objects/{shard.name}"
    assert set(found(local, data=False)) == {
        ("stranger", f"{relative}/notes.txt"),
        ("misplaced", f"{relative}/{wrong}.gz"),
        ("stranger", f"{relative}/{DIGEST}.gz~"),
        ("symlink", linked),
        ("stranger", "objects/zz"),
        ("symlink", "objects/ff"),
        ("stranger", "README"),
        ("symlink", "packs"),
        ("leftover", "stage/0123"),
        ("mode", f"{relative}/{DIGEST}.gz"),
    }
    harmless = {finding.kind for finding in local.verify() if finding.harmless}
    assert harmless == {"leftover", "mode"}


def test_a_living_batch_and_the_quarantine_are_no_findings(local):
    local.quarantine(local.put(b"other"))
    staged = local.stage({DIGEST: BODY})
    assert found(local) == []
    local.discard(staged)


class Faulty(MemoryBackend):
    """Fails the first `failures` reads."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures
        self.asked: list[bool] = []

    def read(self, digest: Digest, limit_bytes: int, fresh: bool = False) -> bytes:
        self.asked.append(fresh)
        self.failures -= 1
        if self.failures == 1:
            return b"garbage from a flaky cable"
        if self.failures == 0:
            raise BlobsUnavailable(errno.EIO, "Input/output error", "memory")
        return super().read(digest, limit_bytes, fresh)


@pytest.mark.parametrize(("failures", "kinds"), [(0, []), (1, []), (2, ["unreadable"]), (3, [])])
def test_a_blob_is_read_twice_before_it_is_accused(failures, kinds):
    backend = Faulty(failures)
    store = BlobStore.over(backend)
    store.put(BODY)
    assert [finding.kind for finding in store.verify(data=True)] == kinds
    assert backend.asked == ([False, True] if failures in (1, 2) else [False])


def test_a_blob_deleted_while_it_is_verified_is_no_finding():
    backend = MemoryBackend()
    store = BlobStore.over(backend)
    store.put(BODY)
    listed = list(backend.list())
    backend.delete([DIGEST])
    backend.list = lambda: iter(listed)
    assert found(store) == []


def test_verify_may_be_left_halfway(store):
    store.put_many([b"%d" % n for n in range(300)])
    findings = store.verify(data=True)
    findings.close()


def test_a_blob_of_another_compressor_is_whole(local, root):
    local.put(BODY)
    overwrite(path_of(root), codec.HEADER + gzip.compress(BODY, 9, mtime=0)[10:])
    assert found(local) == []


def bomb(size_bytes: int, size_claimed: int | None = None) -> bytes:
    """Zeros as one gzip member, its trailer changed on request."""
    stored = codec.encode(bytes(size_bytes))
    return stored if size_claimed is None else stored[:-4] + size_claimed.to_bytes(4, "little")


@pytest.mark.parametrize("claimed", [None, 40, 17 << 20])
def test_a_store_of_bombs_is_read_in_little_memory(python, tmp_path, claimed):
    """A copied directory may hold anything: 24 files of 100 KB that unpack to 100 MiB each, and to nothing wanted."""
    root = tmp_path / "copied"
    stored = bomb(100 << 20, claimed)
    with BlobStore(root) as store:
        for digest in store.put_many([b"%d" % n for n in range(24)]):
            overwrite(root / layout.blob_path(digest), stored)
    script = (
        "import sys; from tests.peak_memory import peak_kib; from blobs import BlobStore, BlobCorrupt, Digest, layout\n"
        "store = BlobStore(sys.argv[1], create=False)\n"
        "before = peak_kib()\n"
        "found = [finding.kind for finding in store.verify(data=True)]\n"
        "assert found == ['corrupt'] * 24, found\n"
        "for digest in store:\n"
        "    try: store.get(digest)\n"
        "    except BlobCorrupt: continue\n"
        "    raise AssertionError(digest)\n"
        "assert not list(store.salvage([layout.OBJECTS], {Digest.of(b'wanted')}))\n"
        "print(peak_kib() - before)\n"
    )
    assert int(python("-c", script, root).stdout) < 90 << 10, "KiB above what the program needs by itself"


def test_a_large_body_is_read_back_whole():
    store = BlobStore.memory()
    body = os.urandom(1000) * 20_000
    assert store.get(store.put(body)) == body
    assert list(store.verify(data=True)) == []


def test_verify_tells_how_far_it_is(store):
    store.put_many([b"%d" % n for n in range(300)])
    told: list[int] = []
    assert list(store.verify(on_progress=told.append)) == []
    assert told == [64, 128, 192, 256]
