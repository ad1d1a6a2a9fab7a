"""Exactly once over kill -9: every line is a row or a rejected line, once, wherever the process dies."""

import json
from collections import Counter

from tracestore import TraceStore
from tracestore.journal.rejects import read_rejected

COLLECT_AND_BE_KILLED = """
import os, random, signal, sys, time
import duckdb
import tracestore.database, tracestore.ingest, tracestore.store.write_side
from tracestore import RetentionPolicy, TraceStore
from tracestore.collector import Collector

tracestore.ingest.BATCH_LINES = 60
root, kills = sys.argv[1], int(sys.argv[2])
rng = random.Random(4711)
data = open(f"{root}/whole", "rb").read()
at = 0
for kill in range(kills):
    with open(f"{root}/app.ndjson", "ab") as journal:  # cut anywhere: most chunks end in a torn line
        end = len(data) * (kill + 1) // kills
        if kill % 5 == 4:  # but no writer rotates in the midst of one
            end = data.find(10, end - 1) + 1
        journal.write(data[at:end])
        at = end
    if kill % 5 == 4:
        os.replace(f"{root}/app.ndjson", f"{root}/app.ndjson.{kills - kill}")
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        try:
            store = TraceStore(f"{root}/store")
            os.write(writable, b"!")
            collector = Collector(store, f"{root}/app.ndjson", lambda event: None)
            collector.drain()
            store.prune(RetentionPolicy(max_total_body_bytes="300KiB"))
            time.sleep(5)
        finally:
            os._exit(1)
    if rng.random() < 0.8:
        os.read(readable, 1)
    time.sleep(rng.random() * 0.25)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(readable), os.close(writable)
"""

KILLS = 20


def test_every_line_is_there_exactly_once_after_twenty_kills(tmp_path, make, python, collecting):
    valid, invalid, lines = set(), [], []
    for n in range(3000):
        if n % 17 == 0:
            lines.append(f"no record {n}".encode() + b"\n")
            invalid.append(f"no record {n}".encode())
        else:
            body = {"body": make.body(n % 40, 3000)} if n % 4 == 0 else {}
            lines.append(make.line(make.log(msg=f"line {n}", turnId=f"t{n // 10}", **body)))
            valid.add(f"line {n}")
    (tmp_path / "whole").write_bytes(b"".join(lines))
    script = tmp_path / "collect.py"
    script.write_text(COLLECT_AND_BE_KILLED)
    python(script, tmp_path, KILLS)
    with TraceStore(tmp_path / "store") as store:
        before = store.stats()["records"]
        assert before > 0
        collecting(store, tmp_path / "app.ndjson").drain()
        rows = Counter(msg for (msg,) in store.sql("SELECT msg FROM records").rows)
        assert rows == Counter(valid)
        entries = list(read_rejected(str(tmp_path / "store" / "journal" / "rejected.ndjson")))
        assert Counter(entry.line() for entry in entries) == Counter(invalid)
        assert store.stats()["rejected"] == len(invalid)
        assert store.verify(data=True).is_clean
        sent = {json.loads(line)["msg"]: json.loads(line).get("body") for line in lines if line.startswith(b"{")}
        for n in range(0, 300, 7):
            for record in store.get_turn(f"t{n}"):
                assert record.body == sent[record.msg] or record.body_state == "evicted"


DRAIN_A_BACKLOG = """
import sys
from tests.peak_memory import peak_kib
from tracestore import TraceStore
from tracestore.collector import Collector

with TraceStore(sys.argv[1]) as store:
    collector = Collector(store, sys.argv[2], lambda event: None)
    collector.drain()
    collector.close()
    records = store.stats()["records"]
print(records, peak_kib() * 1024)
"""


def test_a_backlog_is_drained_in_bounded_memory(tmp_path, make, python):
    """Seed defect `scale`: 277 MB of journal took 3.4 GB of memory, above 2 GiB nothing was read at all."""
    bodies = [make.body(n, 120_000) for n in range(40)]
    with (tmp_path / "app.ndjson").open("wb") as journal:
        for n in range(2000):
            journal.write(make.line(make.log(msg=f"fat {n}", body=bodies[n % 40])))
            journal.write(b"".join(make.line(make.log(msg=f"thin {n}-{m}", turnId=f"t{n}")) for m in range(15)))
    assert (tmp_path / "app.ndjson").stat().st_size > 240_000_000
    done = python("-c", DRAIN_A_BACKLOG, tmp_path / "store", tmp_path / "app.ndjson", timeout=120)
    records, peak_bytes = map(int, done.stdout.split())
    assert records == 32_000
    assert peak_bytes < 400 * 2**20, f"{peak_bytes / 2**20:.0f} MiB"
