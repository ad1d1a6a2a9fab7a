"""Real traffic of five kinds through the whole store.

The corpora are no part of this repository. They are looked for beside it, in ``../shared/corpora``,
or where ``TRACESTORE_CORPORA`` says: a directory with ``convert.py`` and ``compact/``.
"""

import base64
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from blobs import Digest
from tracestore import RetentionPolicy, TraceStore
from tracestore.collector import Collected, Collector

REPOSITORY = Path(__file__).resolve().parents[2]
CORPORA = Path(os.environ.get("TRACESTORE_CORPORA", REPOSITORY.parent / "shared" / "corpora"))
CONVERSATIONS = {"tau-airline": 12, "livemcp": 10, "mint": 100, "http-cassettes": 60, "llamastack": 40}
DAY_MS = 86_400_000
AT_ONCE_MS = -100 * 365 * DAY_MS
"""A grace that is over for every file: the disk tells their times, and its clock is not that of the store."""


def convert(name: str, path: Path) -> None:
    if not (CORPORA / "convert.py").exists():
        pytest.skip(f"no corpora at {CORPORA}; TRACESTORE_CORPORA names their directory")
    for needed in ("orjson", "zstandard"):
        pytest.importorskip(needed, reason=f"converting a corpus needs {needed}")
    command = [sys.executable, CORPORA / "convert.py", name, "--limit", str(CONVERSATIONS[name]),
               "--compact", CORPORA / "compact", "--out", path]  # fmt: skip
    subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=120)


def collect(store, journal):
    events = []
    collector = Collector(store, str(journal), events.append)
    collector.drain()
    collector.close()
    return [event for event in events if isinstance(event, Collected)]


@pytest.fixture(scope="module", params=list(CONVERSATIONS))
def corpus(request, tmp_path_factory):
    """(directory, lines): the journal of one corpus as objects, collected into `directory/store`."""
    directory = tmp_path_factory.mktemp(request.param)
    convert(request.param, directory / "app.ndjson")
    with TraceStore(directory / "store") as store:
        collect(store, directory / "app.ndjson")
    with (directory / "app.ndjson").open("rb") as journal:
        yield directory, [json.loads(line) for line in journal]
    shutil.rmtree(directory)


@pytest.fixture
def collected(corpus):
    directory, lines = corpus
    with TraceStore(directory / "store", create=False) as store:
        yield store, lines, directory


@pytest.fixture
def copied(corpus, tmp_path):
    """A store of this corpus that a test may change, on a clock that stands at the newest record."""
    directory, lines = corpus
    shutil.copytree(directory / "store", tmp_path / "copy")
    newest_ms = int(max(line["timestamp"] for line in lines))
    # Age counts from the earlier of timestamp and insertion; the corpora lie in the past.
    with TraceStore(tmp_path / "copy", now_ns=lambda: newest_ms * 1_000_000) as store:
        yield store, lines, newest_ms


def test_every_line_is_a_row_and_none_is_rejected(collected):
    store, lines, _ = collected
    stats = store.stats()
    assert len(lines) > 250
    assert (stats["records"], stats["rejected"]) == (len(lines), 0)
    assert stats["bodies"] == sum("body" in line for line in lines)


def test_collecting_twice_changes_nothing(collected):
    store, lines, directory = collected
    before = store.sql("SELECT * FROM raw.records ORDER BY seq").rows
    assert collect(store, directory / "app.ndjson") == []
    copy = directory / "copy.ndjson"
    shutil.copy(directory / "app.ndjson", copy)
    with copy.open("r+b") as file:  # another beginning, so that the copy is read as a new journal
        whole = file.read()
        file.seek(0)
        file.write(b"\n" + whole)
    batches = collect(store, copy)
    assert sum(batch.duplicates for batch in batches) == len(lines)
    assert sum(batch.inserted + batch.rejected for batch in batches) == 0
    assert store.sql("SELECT * FROM raw.records ORDER BY seq").rows == before


def test_every_record_and_every_body_comes_back_as_it_was(collected):
    store, lines, _ = collected
    turns = {}
    for line in lines:
        turns.setdefault(line.get("turnId"), []).append(line)
    assert None not in turns
    for turn_id, wanted in turns.items():
        found = [record.to_json_dict() for record in store.get_turn(turn_id)]
        for line in wanted:
            if line.pop("bodyEncoding", None):
                line["body"] = base64.b64decode(line["body"])
        assert sorted(found, key=repr_sorted) == sorted(wanted, key=repr_sorted)


def repr_sorted(record):
    return repr(sorted(record.items()))


def test_every_byte_verifies(collected):
    store, _, _ = collected
    report = store.verify(data=True)
    assert report.findings == ()
    assert report.blobs == report.bodies == store.stats()["unique_bodies"] > 0


def test_the_easy_view_has_a_line_for_every_span_and_log(collected):
    store, _, _ = collected
    wanted = store.sql(
        "SELECT turn_id, count(*) FILTER (kind = 'log') + count(DISTINCT span_id) FILTER (kind = 'span-open')"
        " FROM records GROUP BY turn_id"
    ).rows
    for turn_id, events in wanted:
        view = store.easy_view(turn_id)
        assert len(view.splitlines()) == events
        assert all(line.lstrip(" ").startswith("- ") for line in view.splitlines())


def test_questions_find_requests_with_models_in_real_traffic(collected):
    store, lines, _ = collected
    calls = sum(line["kind"] == "span-open" and line["name"] == "provider.request" for line in lines)
    requests, models = store.sql("SELECT count(*), count(model) FROM requests").fetchone()
    assert requests == models == calls
    turns, records = store.sql("SELECT count(*), sum(records) FROM turns").fetchone()
    assert (turns, records) == (store.stats()["turns"], len(lines))


def test_the_blobs_alone_can_be_copied_and_read_with_zcat(copied, tmp_path):
    store, _, _ = copied
    if not shutil.which("rsync") or not shutil.which("zcat"):
        pytest.skip("rsync and zcat are not both installed")
    store.unpack(grace_ms=AT_ONCE_MS)
    subprocess.run(["rsync", "-a", f"{store.path / 'blobs'}/", str(tmp_path / "elsewhere")], check=True)
    assert_named_by_content(tmp_path / "elsewhere", store.stats()["unique_bodies"])


def assert_named_by_content(blobs, count):
    files = sorted(blobs.rglob("*.gz"))
    assert len(files) == count
    for file in random.Random(1).sample(files, 25):
        body = subprocess.run(["zcat", str(file)], check=True, capture_output=True).stdout
        assert f"{Digest.of(body)}.gz" == file.name


def test_packing_keeps_every_body_and_saves_most_of_the_space(copied):
    store, lines, _ = copied
    report = store.pack(grace_ms=AT_ONCE_MS)
    stats = store.stats()
    assert (stats["loose_blobs"], stats["packed_bodies"]) == (0, stats["unique_bodies"])
    assert report.stored_bytes == stats["pack_bytes"]
    assert stats["packed_raw_bytes"] / stats["pack_bytes"] > 5
    assert store.verify(data=True).findings == ()
    for line in random.Random(2).sample([line for line in lines if isinstance(line.get("body"), str)], 25):
        body = base64.b64decode(line["body"]) if line.get("bodyEncoding") else line["body"].encode()
        assert store.get_body(Digest.of(body)) == body


def test_pruning_to_a_cap_keeps_every_row(copied):
    store, lines, _ = copied
    used_bytes = body_file_bytes(store)
    policy = RetentionPolicy(max_total_body_bytes=used_bytes // 2)
    planned = store.prune(policy, dry_run=True)
    summary = store.prune(policy)
    assert summary.records_deleted == 0
    assert summary.bodies_evicted == summary.bodies_deleted == planned.bodies_evicted > 0
    assert body_file_bytes(store) <= used_bytes // 2
    assert store.stats()["records"] == len(lines)
    assert store.verify(data=True).findings == ()


def body_file_bytes(store):
    places = (store.path / "blobs" / name for name in ("objects", "packs"))
    return sum(path.lstat().st_blocks * 512 for place in places for path in place.rglob("*") if path.is_file())


def test_pruning_by_age_takes_whole_turns(copied):
    store, lines, newest_ms = copied
    ends = {}
    for line in lines:
        ends[line["turnId"]] = max(ends.get(line["turnId"], 0), line["timestamp"])
    cutoff_ms = sorted(ends.values())[len(ends) // 2]
    policy = RetentionPolicy(max_age=int(newest_ms - cutoff_ms))
    kept = {turn for turn, end in ends.items() if end >= newest_ms - policy.max_age_ms}
    summary = store.prune(policy)
    assert summary.records_deleted == sum(line["turnId"] not in kept for line in lines) > 0
    assert {turn for (turn,) in store.sql("SELECT DISTINCT turn_id FROM records").rows} == kept
    assert store.verify(data=True).findings == ()
