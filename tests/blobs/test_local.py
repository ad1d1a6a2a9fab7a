"""What only a directory has: modes, odd names, symbolic links, other hands."""

import os
import stat
from pathlib import Path

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from blobs import BlobNotFound, BlobStore, BlobsUnavailable, Digest, FormatUnknown, durable, layout

BODY = b"a body, some text that compresses; " * 40
DIGEST = Digest.of(BODY)


def file_of(root: Path, digest: Digest) -> Path:
    return root / layout.blob_path(digest)


def tree_of(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


@pytest.fixture
def faked(fs: FakeFilesystem, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file system in memory; it has no syncfs, so this is also the path of other platforms."""
    monkeypatch.setattr(durable, "_syncfs", None)
    fs.create_dir("/data")
    return Path("/data/blobs")


def test_a_fake_file_system_holds_a_whole_life(faked):
    with BlobStore(faked) as store:
        digests = store.put_many([b"%d" % n for n in range(20)])
        store.delete(digests[:10])
        store.quarantine(digests[10])
        assert list(store) == sorted(digests[11:])
    with BlobStore(faked, create=False) as store:
        assert {store.get(digest) for digest in store} == {b"%d" % n for n in range(11, 20)}
        # pyfakefs does not apply the mode of os.open, so its files have another.
        assert {finding.kind for finding in store.verify(data=True)} <= {"mode"}


def test_the_directory_is_as_drawn(faked):
    with BlobStore(faked) as store:
        store.put(BODY)
        store.quarantine(store.put(b"other"))
    other = Digest.of(b"other")
    drawn = ["FORMAT", "objects", f"objects/{DIGEST.hex()[:2]}", layout.blob_path(DIGEST), "quarantine"]
    drawn += [f"quarantine/{other}.gz", "stage", f"objects/{other.hex()[:2]}"]
    assert tree_of(faked) == sorted(drawn)


def test_blobs_are_read_only_and_directories_private(local, root):
    local.put(BODY)
    assert stat.S_IMODE(file_of(root, DIGEST).stat().st_mode) & 0o222 == 0
    directories = [root, *(path for path in root.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directories} == {0o700}


def test_a_small_store_stays_small(local, root):
    local.put(BODY)
    assert len([path for path in root.rglob("*") if path.is_dir()]) == 3  # objects, one shard, stage


def test_staging_leaves_no_directory_behind(local, root):
    local.put_many([b"%d" % n for n in range(50)])
    assert list((root / "stage").iterdir()) == []


def test_a_shard_goes_with_its_last_blob(local, root):
    local.put(BODY)
    local.delete([DIGEST])
    assert list((root / "objects").iterdir()) == []
    local.put(BODY)
    assert local.get(DIGEST) == BODY


def test_sizes_are_those_of_the_file_system(local, root):
    local.put(BODY)
    found = file_of(root, DIGEST).stat()
    blob = local.stat(DIGEST)
    assert (blob.stored_bytes, blob.allocated_bytes) == (found.st_size, found.st_blocks * 512)
    assert list(local.list()) == [blob]


def test_a_file_of_the_wrong_size_is_replaced_when_its_body_is_put_again(local, root):
    local.put(BODY)
    path = file_of(root, DIGEST)
    path.chmod(0o644)
    path.write_bytes(b"")
    local.put(BODY)
    assert local.get(DIGEST) == BODY


def test_a_link_in_place_of_a_blob_is_no_blob(local, root, tmp_path):
    local.put(BODY)
    path = file_of(root, DIGEST)
    path.rename(tmp_path / "elsewhere.gz")
    path.symlink_to(tmp_path / "elsewhere.gz")
    assert local.stat(DIGEST) is None
    assert list(local) == []
    assert local.delete([DIGEST]).blobs == 0
    with pytest.raises(BlobNotFound):
        local.get(DIGEST)
    local.put(BODY)
    assert not path.is_symlink()
    assert local.get(DIGEST) == BODY
    assert (tmp_path / "elsewhere.gz").exists()


def test_a_link_in_place_of_a_shard_is_not_followed(local, root, tmp_path):
    local.put(BODY)
    shard = file_of(root, DIGEST).parent
    shard.rename(tmp_path / "shard")
    shard.symlink_to(tmp_path / "shard")
    with BlobStore(root) as store:
        assert store.stat(DIGEST) is None
        assert list(store) == []
        assert store.delete([DIGEST]).blobs == 0
        with pytest.raises(BlobNotFound):
            store.get(DIGEST)
        with pytest.raises(BlobsUnavailable):
            store.put(BODY)
    assert [path.name for path in (tmp_path / "shard").iterdir()] == [layout.blob_name(DIGEST)]


def test_a_directory_or_a_pipe_in_place_of_a_blob_is_no_blob(local, root):
    other = Digest.of(b"other")
    local.put_many([BODY, b"other"])
    for digest, plant in ((DIGEST, Path.mkdir), (other, os.mkfifo)):
        file_of(root, digest).unlink()
        plant(file_of(root, digest))
        assert local.stat(digest) is None
        with pytest.raises(BlobNotFound):
            local.get(digest)
    assert list(local) == []


def test_odd_names_are_passed_over(local, root):
    local.put(BODY)
    shard = file_of(root, DIGEST).parent
    (shard / "notes.txt").write_text("x")
    (shard / f"{Digest.of(b'of another shard')}.gz").write_text("x")
    (root / "objects" / "zz").mkdir()
    (root / "objects" / "file").write_text("x")
    assert list(local) == [DIGEST]


def test_what_a_crash_left_in_stage_is_cleared_and_a_living_batch_is_not(local, root):
    crashed = root / "stage" / "0123456789abcdef"
    crashed.mkdir(parents=True)
    (crashed / "half").write_bytes(b"x" * 5000)
    (root / "stage" / "stray file").write_text("x")
    staged = local.stage({DIGEST: BODY})
    summary = local.apply(local.plan([]))
    assert summary.leftovers_deleted == 2
    assert summary.leftover_bytes >= 5000
    assert [path.name for path in (root / "stage").iterdir()] == [staged.token]
    local.publish(staged)
    assert local.get(DIGEST) == BODY


def test_a_copy_without_empty_directories_is_a_store(local, root):
    local.put(BODY)
    for name in ("stage",):
        (root / name).rmdir()
    with BlobStore(root, create=False) as copy:
        assert copy.get(DIGEST) == BODY
        assert copy.apply(copy.plan([DIGEST])).leftovers_deleted == 0
        assert list(copy.verify(data=True)) == []
        copy.put(b"other")


def test_a_store_may_be_moved_while_it_is_open(local, root, tmp_path):
    root.rename(tmp_path / "moved")
    local.put(BODY)
    assert file_of(tmp_path / "moved", DIGEST).exists()


def test_no_descriptor_is_left_open(root):
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    with BlobStore(root) as store:
        digests = store.put_many([b"%d" % n for n in range(300)])
        store.put(b"one more")
        store.get(digests[0])
        store.quarantine(digests[1])
        store.apply(store.plan(sorted(digests)), force=True)
        list(store.verify(data=True))
        store.delete(digests)
    assert count() == before


def test_a_creation_cut_short_is_finished(tmp_path):
    root = tmp_path / "blobs"
    root.mkdir()
    (root / "FORMAT.new").write_text("half")
    (root / "FORMAT.new").chmod(0o400)
    with BlobStore(root) as store:
        store.put(b"body")
    assert (root / "FORMAT").read_bytes() == layout.format_text()
    assert not (root / "FORMAT.new").exists()


@pytest.mark.parametrize("name", ["FORMAT", "objects"])
def test_a_link_in_place_of_a_part_of_the_store_is_not_followed(tmp_path, name):
    root = tmp_path / "blobs"
    BlobStore(root).close()
    (root / name).rename(tmp_path / "elsewhere")
    (root / name).symlink_to(tmp_path / "elsewhere")
    for create in (True, False):
        with pytest.raises(FormatUnknown, match=f"{name}: wanted a .* which is not followed"):
            BlobStore(root, create)
    assert (root / name).is_symlink()
