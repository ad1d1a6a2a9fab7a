"""What is planted in a store's directory is not followed, not waited for and not written through."""

import os
import shutil

import pytest

from tracestore import StoreBroken, TraceStore
from tracestore.layout import StoreLayout, refuse_links

FILES = ["FORMAT", "lock", "records.duckdb", "records.duckdb.wal", "journal/rejected.ndjson"]
DIRECTORIES = ["journal", "journal/inserted", "blobs", "snapshots", "tmp", "repairs"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, make):
    root = tmp_path_factory.mktemp("whole") / "store"
    with TraceStore(root) as store:
        store.insert_records(make.turn("t", request="a body"))
        store.snapshot()
    for name in DIRECTORIES:
        (root / name).mkdir(exist_ok=True)
    (root / "records.duckdb.wal").touch()
    (root / "journal" / "rejected.ndjson").touch()
    return root


@pytest.fixture
def root(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "store")


def test_a_store_without_links_passes_wherever_it_is(root, tmp_path):
    refuse_links(StoreLayout(root))
    (tmp_path / "linked").symlink_to(root)
    refuse_links(StoreLayout(tmp_path / "linked"))
    refuse_links(StoreLayout(tmp_path / "nothing here"))


@pytest.mark.parametrize("name", [*FILES, *DIRECTORIES, "records.duckdb.new", "planted"])
@pytest.mark.parametrize("leads_to", ["where it was", "nowhere"])
def test_a_link_is_refused_wherever_it_leads(root, tmp_path, name, leads_to):
    path = root / name
    if path.exists():
        path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / ("elsewhere" if leads_to == "where it was" else "nowhere"))
    with pytest.raises(StoreBroken, match=f"{name}: wanted a file or directory of this store, found a symbolic link"):
        refuse_links(StoreLayout(root))


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_or_a_directory_in_place_of_a_file_is_refused(root, name):
    for make_it in (os.mkfifo, os.mkdir):
        path = root / name
        path.rmdir() if path.is_dir() else path.unlink()
        make_it(path)
        with pytest.raises(StoreBroken, match=f"{name}: wanted a regular file"):
            refuse_links(StoreLayout(root))
        if make_it is os.mkfifo:
            path.unlink()
            path.touch()


@pytest.mark.parametrize("name", DIRECTORIES)
def test_a_file_in_place_of_a_directory_is_refused(root, tmp_path, name):
    (root / name).rename(tmp_path / "elsewhere")
    (root / name).touch()
    with pytest.raises(StoreBroken, match=f"{name}: wanted a directory"):
        refuse_links(StoreLayout(root))


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("name", [*FILES, *DIRECTORIES])
def test_a_store_with_a_link_in_it_does_not_open_and_nothing_is_written_through_it(root, tmp_path, name, read_only):
    (root / name).rename(tmp_path / "elsewhere")
    (root / name).symlink_to(tmp_path / "elsewhere")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "elsewhere").rglob("*")}
    with pytest.raises(StoreBroken, match="which is not followed; move it away"):
        TraceStore(root, create=False, read_only=read_only)
    assert (root / name).is_symlink()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "elsewhere").rglob("*")} == before


def test_a_store_is_not_made_around_a_link(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "journal").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreBroken, match="journal: wanted a file or directory of this store"):
        TraceStore(tmp_path / "store")
    assert list((tmp_path / "outside").iterdir()) == []
