"""Who may have a store open, and do what, at the same time."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from blobs import Digest
from tracestore import (
    InputInvalid,
    StoreLocked,
    TraceStore,
)

REPOSITORY = Path(__file__).resolve().parent.parent


class TestHolding:
    """Who may have the store open at the same time."""

    def test_closing_twice_is_fine_and_a_context_closes(self, tmp_path):
        store = TraceStore(tmp_path / "store")
        with store as same:
            assert same is store
        store.close()
        store.close()
        TraceStore(tmp_path / "store").close()

    def test_a_memory_store_leaves_nothing(self, make):
        with TraceStore.memory() as store:
            store.insert_records([make.log(turnId="t", body="text")])
            assert store.get_turn("t")[0].body == "text"
            assert store.verify(data=True).is_clean
            path = store.path
        assert not path.exists()

    def test_two_memory_stores_are_strangers(self, memory_store, make):
        with TraceStore.memory() as other:
            other.insert_records([make.log()])
            assert memory_store.stats()["records"] == 0

    def test_a_reader_changes_nothing(self, open_store, make, tmp_path):
        with open_store() as store:
            store.insert_records([make.log(turnId="t", body="text")])
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")}
        match = "wanted a store open for writing, found it opened with read_only"
        with open_store(read_only=True) as reader:
            assert reader.get_turn("t")[0].body == "text"
            assert reader.verify(data=True).is_clean
            reader.stats()
            for writing in (
                lambda: reader.insert_records([make.log(msg="new")]),
                lambda: reader.follow_journal(tmp_path / "app.ndjson"),
                reader.compact,
            ):
                with pytest.raises(InputInvalid, match=match):
                    writing()
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")} == before

    def test_two_readers_at_once(self, open_store, make, tmp_path, python):
        with open_store() as store:
            store.insert_records([make.log(turnId="t")])
        with open_store(read_only=True) as one, open_store(read_only=True) as other:
            assert len(one.get_turn("t")) == len(other.get_turn("t")) == 1
            code = (
                "import sys; from tracestore import TraceStore\n"
                "print(len(TraceStore(sys.argv[1], read_only=True).get_turn('t')))"
            )
            assert python("-c", code, tmp_path / "store").stdout == "1\n"

    def test_a_second_writer_is_told_who_holds_the_store(self, open_store, tmp_path):
        open_store().close()
        code = (
            "import sys; from tracestore import TraceStore\n"
            "store = TraceStore(sys.argv[1])\nprint('open', flush=True)\nsys.stdin.read()"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "store")]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as holder:
            assert holder.stdout.readline() == "open\n"
            for options in ({}, {"read_only": True}):
                with pytest.raises(StoreLocked, match=f"the store is held by process {holder.pid} ") as caught:
                    open_store(**options)
                assert str(holder.pid) in caught.value.holder
                assert str(tmp_path / "store") in caught.value.holder
            holder.stdin.close()
            holder.wait(20)
        open_store().close()

    def test_a_killed_holder_holds_nothing(self, open_store, tmp_path, python):
        code = "import os, sys; from tracestore import TraceStore\nTraceStore(sys.argv[1])\nos.kill(os.getpid(), 9)"
        assert python("-c", code, tmp_path / "store", check=False).returncode == -9
        open_store().close()

    def test_a_writer_waits_for_a_reader_that_ends(self, open_store):
        open_store().close()
        reader = open_store(read_only=True)
        timer = threading.Timer(0.2, reader.close)
        timer.start()
        open_store().close()
        timer.join()

    def test_threads_insert_and_read_together(self, store, make):
        errors = []

        def work(number):
            try:
                for n in range(15):
                    records = make.turn(f"{number}-{n}", request=f"body {n}", response=make.body(n, 100))
                    assert store.insert_records(records).inserted == 3
                    assert len(store.get_turn(f"{number}-{n}")) == 3
                    assert store.sql("SELECT count(*) % 3 FROM records").fetchone() == (0,)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert store.stats()["records"] == 180
        assert store.verify(data=True).findings == ()


def test_what_waits_in_the_journal_is_told_of_where_others_read(open_store, make, monkeypatch):
    monkeypatch.setattr("tracestore.directory.lock.WAIT_S", 0)
    monkeypatch.setattr(TraceStore, "_is_behind", lambda self, layout: True)
    with open_store() as store:
        store.insert_records([make.log(turnId="t")])
    with TraceStore(store.path, read_only=True) as first:
        assert first.notices == []
        with TraceStore(store.path, read_only=True) as second:
            assert "in the journal and not shown yet" in second.notices[0]
            assert len(second.get_turn("t")) == 1


def test_a_body_that_waits_in_the_journal_is_found_by_its_digest(tmp_path, make):
    with TraceStore(tmp_path / "store") as store:
        store.insert_records([make.log(body="fresh")])
        assert store.get_body(Digest.of(b"fresh").hex()) == b"fresh"
