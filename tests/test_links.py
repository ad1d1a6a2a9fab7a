"""What is planted in a store's directory is not followed, not waited for and not written through."""

import os

import pytest

from tracestore import StoreBroken, TraceStore
from tracestore.layout import StoreLayout
from tracestore.links import refuse_links

FILES = ["FORMAT", "lock", "records.duckdb", "records.duckdb.wal", "journal/rejected.ndjson"]
DIRECTORIES = ["journal", "journal/inserted", "blobs", "snapshots", "tmp", "repairs"]


@pytest.fixture
def root(tmp_path, make):
    root = tmp_path / "store"
    with TraceStore(root) as store:
        store.insert_records(make.turn("t", request="a body"))
        store.snapshot()
    for name in DIRECTORIES:
        (root / name).mkdir(exist_ok=True)
    (root / "records.duckdb.wal").touch()
    (root / "journal" / "rejected.ndjson").touch()
    return root


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
