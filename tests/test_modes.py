"""What a store holds is its owner's alone: directories 0700, files 0600, bodies 0400, whatever the umask."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from blobs import Digest, layout
from tracestore import RetentionPolicy, TraceStore
from tracestore.layout import StoreLayout


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=lambda mask: f"umask {mask:03o}")
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(root: Path) -> dict[str, str]:
    """Every entry that others may look at, or that may be written although it never changes."""
    found = {}
    for path in (root, *root.rglob("*")):
        if path.suffix == ".wal":
            continue  # DuckDB makes and removes it by itself; nobody else gets into its directory
        mode = stat.S_IMODE(path.lstat().st_mode)
        is_blob = path.suffix == ".gz" or path == root / "blobs" / "FORMAT"
        wanted = 0o700 if path.is_dir() else 0o400 if is_blob else 0o600
        if mode != wanted:
            found[str(path.relative_to(root))] = f"{mode:04o}, wanted {wanted:04o}"
    return found


def test_everything_a_store_writes_is_its_owners_alone(tmp_path, make, collecting, umask):
    root, journal = tmp_path / "store", tmp_path / "app.ndjson"
    with TraceStore(root) as store:
        store.insert_records(make.turn("t", request="a body", response="x" * 5000))
        store.insert_lines([b"no record"])
        journal.write_bytes(make.lines(300, body="of the journal") + b"{no record either\n")
        one = collecting(store, journal).drain()
        store.prune(RetentionPolicy(max_age="1d", max_total_body_bytes=0), dry_run=True)
        assert modes(root) == {}
        store.insert_records(make.turn("u", request="b" * 9000))
        store.prune(RetentionPolicy(max_total_body_bytes=4096))
        store.compact()
        store.snapshot()
        assert modes(root) == {}
        one.close()
        path = root / "blobs" / layout.blob_path(Digest.of(b"of the journal"))
        if path.exists():
            path.chmod(0o644)
        (root / "blobs" / "notes").touch(0o600)
        store.insert_records(make.turn("v", request="c" * 9000))
        store.repair(apply=True)
        assert modes(root) == {}
    assert modes(root) == {}
    assert {"repairs", "snapshots", "journal", "blobs", "records.duckdb"} <= set(os.listdir(root))
    assert (root / "blobs" / "quarantine").is_dir()


def test_a_store_made_again_is_its_owners_alone(tmp_path, make, umask):
    root = tmp_path / "store"
    with TraceStore(root) as store:
        store.insert_records(make.turn("t", request="a body"))
        store.insert_lines([b"no record"])
        store.snapshot()
        store.insert_records(make.turn("u", request="another"))
    StoreLayout(root).database.unlink()
    shutil.rmtree(root / "tmp", ignore_errors=True)
    with TraceStore(root) as store:
        assert len(store.get_turn("u")) == 3
        assert modes(root) == {}
    assert modes(root) == {}
