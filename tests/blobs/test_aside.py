"""What is no blob in its seat is read and set aside by its path, and no link is followed."""

import gzip
import os
from pathlib import Path

import pytest

from blobs import BlobStore, BlobsUnavailable, Digest, codec, layout

BODY = b"a body that somebody wants back"
DIGEST = Digest.of(BODY)
SHARD = f"objects/{DIGEST.hex()[:2]}"


def aside(store: BlobStore, path: str) -> str:
    return store.set_aside(path, store.name_aside(path))


def listing(root: Path) -> list[str]:
    return sorted(os.listdir(root / "quarantine"))


def salvaged(store: BlobStore, *paths: str) -> list[tuple[str, bytes]]:
    return [(path, body) for path, digest, body in store.salvage(paths, {DIGEST})]


def test_everything_that_verify_accuses_can_be_set_aside(local, root, tmp_path):
    local.put(BODY)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.txt").write_text("mine")
    (root / SHARD / "notes.txt").write_text("x")
    (root / SHARD / "link.gz").symlink_to(outside / "mine.txt")
    (root / "objects" / "zz" / "deep").mkdir(parents=True)
    (root / "objects" / "zz" / "deep" / "file").write_text("y")
    linked = "objects/00" if SHARD != "objects/00" else "objects/01"
    (root / linked).symlink_to(outside)
    (root / "packs").symlink_to(outside)
    (root / "README").write_text("z")
    os.mkfifo(root / SHARD / "pipe")
    for finding in list(local.verify()):
        aside(local, finding.path)
    assert list(local.verify(data=True)) == []
    assert listing(root) == sorted(["notes.txt", "link.gz", "zz", linked[-2:], "packs", "README", "pipe"])
    assert (root / "quarantine" / "packs").is_symlink()
    assert (root / "quarantine" / "zz" / "deep" / "file").read_text() == "y"
    assert (outside / "mine.txt").read_text() == "mine"


def test_names_in_quarantine_are_never_given_twice(local, root):
    for content in ("one", "two", "three"):
        (root / "notes").write_text(content)
        aside(local, "notes")
    (root / "notes").symlink_to("nowhere")
    aside(local, "notes")
    assert listing(root) == ["notes", "notes.1", "notes.2", "notes.3"]
    assert [(root / "quarantine" / name).read_text() for name in listing(root)[:3]] == ["one", "two", "three"]


def test_a_shard_that_was_set_aside_may_come_again(local, root):
    local.put(BODY)
    aside(local, SHARD)
    assert DIGEST not in local
    local.put(BODY)
    assert local.get(DIGEST) == BODY


@pytest.mark.parametrize("path", ["", ".", "..", "objects/..", "../outside", "objects/../../outside", "nothing", "a/b"])
def test_a_path_that_leads_nowhere_or_out_is_refused(local, tmp_path, path):
    (tmp_path / "outside").write_text("x")
    with pytest.raises(FileNotFoundError):
        local.set_aside(path, "name")
    assert (tmp_path / "outside").exists()


def test_a_link_on_the_way_is_not_followed(local, root, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(codec.encode(BODY))
    (root / "stage").symlink_to(tmp_path / "outside")
    with pytest.raises(BlobsUnavailable):
        local.set_aside("stage/file", "file")
    assert salvaged(local, "stage") == []
    (root / "quarantine").rmdir()
    (root / "quarantine").symlink_to(tmp_path / "outside")
    with pytest.raises(BlobsUnavailable):
        local.set_aside("stage", "stage")
    assert (root / "stage").is_symlink()


def test_a_body_is_salvaged_whatever_its_file_is_called(local, root):
    (root / "quarantine" / "zz" / "deep").mkdir(parents=True)
    (root / "quarantine" / f"{DIGEST}.gz.3").write_bytes(codec.encode(BODY))
    (root / "quarantine" / "zz" / "deep" / "file").write_bytes(gzip.compress(BODY))
    (root / "quarantine" / "other").write_bytes(codec.encode(b"nobody wants this"))
    (root / "quarantine" / "torn").write_bytes(codec.encode(BODY)[:-1])
    (root / "quarantine" / "link").symlink_to(root / "quarantine" / f"{DIGEST}.gz.3")
    os.mkfifo(root / "quarantine" / "pipe")
    (root / "notes").write_bytes(codec.encode(BODY))
    found = salvaged(local, layout.QUARANTINE, "notes", "nothing")
    assert found == [(f"quarantine/{DIGEST}.gz.3", BODY), ("quarantine/zz/deep/file", BODY), ("notes", BODY)]


def test_directories_deeper_than_any_store_are_passed_over(local, root):
    deep = root / "quarantine" / "/".join(["d"] * 200)
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(codec.encode(BODY))
    assert salvaged(local, layout.QUARANTINE) == []


def test_a_file_that_others_may_read_is_protected(local, root):
    path = root / layout.blob_path(local.put(BODY))
    path.chmod(0o644)
    assert [finding.kind for finding in local.verify()] == ["mode"]
    local.protect(layout.blob_path(DIGEST))
    assert path.stat().st_mode & 0o7777 == 0o400
    assert list(local.verify()) == []
