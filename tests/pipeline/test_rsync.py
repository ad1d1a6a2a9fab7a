"""Copies that are made while a producer writes, a collector collects and prunes evict and sweep."""

import gzip
import hashlib
import os
import subprocess
import threading
from contextlib import contextmanager

import pytest
from blake3 import blake3

from blobs import BlobStore
from tracestore import RetentionPolicy, StoreLocked
from tracestore.collector import Collected, Pruned
from tracestore.layout import StoreLayout
from tracestore.maintenance.backup import back_up
from tracestore.maintenance.restore import restore
from tracestore.maintenance.rsync import Place

CAP = RetentionPolicy(max_total_body_bytes="600KiB")
ROUNDS = 3
LINES_AT_ONCE = 20
VANISHED = 24


def body(number):
    """A body that two records in a row have in common, and that compresses to about half."""
    seed = str(number // 2).encode()
    return "".join(hashlib.sha256(seed + bytes([n])).hexdigest() for n in range(60))


@pytest.fixture
def load(store, tmp_path, make, now_ms, collecting):
    """`with load() as collector:` writes, collects and prunes until the end of the block."""

    def write(journal, stop):
        number = 0
        while not stop.wait(0.04):
            lines = [
                make.line(make.log(now_ms + n, str(n), body=body(n))) for n in range(number, number + LINES_AT_ONCE)
            ]
            number += LINES_AT_ONCE
            with journal.open("ab") as file:
                file.write(b"".join(lines))

    @contextmanager
    def run():
        journal, stop = tmp_path / "app.ndjson", threading.Event()
        collected = collecting(store, journal, policy=CAP, prune_every_s=0.05)
        threads = [
            threading.Thread(target=write, args=(journal, stop)),
            threading.Thread(target=collected.collector.run, args=(stop,)),
        ]
        for thread in threads:
            thread.start()
        try:
            wait_for_a_sweep(collected, 0)
            yield collected
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
        journal.unlink()

    return run


def test_a_backup_under_load_restores_everything_that_was_committed_before_it(store, load, open_store, tmp_path):
    def somebody_else_holds_it():
        raise StoreLocked("held", "this process")

    committed, backups = [], [tmp_path / "first", tmp_path / "second", tmp_path / "first"]
    with load() as collected:
        for target in backups:
            committed.append(collected.of(Collected)[-1].total_inserted)
            place = Place.local(target)
            done = back_up(StoreLayout(store.path), place, somebody_else_holds_it, tell=lambda text: None)
            assert done.is_fresh
            wait_for_a_sweep(collected, len(collected.events))
    assert any(event.summary.sweep_postponed for event in collected.of(Pruned))

    (store.path / "journal" / "inserted").rmdir()  # nothing was inserted, and nothing there can come to help
    for count, target in zip(committed[1:], backups[1:], strict=True):
        restore(Place.local(target), StoreLayout(tmp_path / f"again-{target.name}"))
        again = open_store(f"again-{target.name}")
        assert again.rebuilt.lost_bodies == 0
        assert again.verify(data=True).is_clean
        rows = again.sql("SELECT msg::INT, body_digest FROM records ORDER BY 1").rows
        assert [number for number, _ in rows] == list(range(len(rows)))
        assert len(rows) >= count > 0
        bodies = [(number, again.get_body(digest)) for number, digest in rows]
        assert [number for number, found in bodies if found not in (None, body(number).encode())] == []
        assert 10 < sum(found is not None for _, found in bodies) < len(rows)  # the others are evicted


def test_a_plain_rsync_under_load_has_every_body_that_is_older_than_it(store, load, tmp_path):
    bodies, swept = store.path / "blobs", 0
    with load() as collected:
        for number in range(ROUNDS):
            older = files(bodies)
            copy = tmp_path / f"copy-{number}"
            command = ["rsync", "-a", "--bwlimit=500", f"{bodies}/", copy]
            done = subprocess.run(command, capture_output=True, check=False)
            assert done.returncode in (0, VANISHED), done.stderr
            kept = older & files(bodies)
            swept += len(older - kept)
            assert len(kept) > 10
            assert kept <= files(copy)
            wait_for_a_sweep(collected, len(collected.events))
    for number in range(ROUNDS):
        copy = tmp_path / f"copy-{number}"
        for name in files(copy):
            content = gzip.decompress((copy / "objects" / name[:2] / name).read_bytes())
            assert blake3(content).hexdigest() == name.removesuffix(".gz")
        with BlobStore(copy, create=False) as blobs:
            assert [finding for finding in blobs.verify(data=True) if not finding.harmless] == []
    assert swept


def files(root):
    """Names of the blobs in a directory of bodies."""
    walk = os.walk(root / "objects")  # passes over a directory that a sweep emptied and removed
    return {name for _, _, names in walk for name in names if name.endswith(".gz")}


def wait_for_a_sweep(collected, since, seconds=60):
    """Wait until a prune swept something; events are looked at from a number on."""
    waiting = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if any(isinstance(event, Pruned) and event.summary.bodies_evicted for event in collected.events[since:]):
            return
        waiting.wait(0.02)
    raise AssertionError("no prune swept anything")
