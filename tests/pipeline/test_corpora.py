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


def test_the_blobs_alone_can_be_copied_and_read_with_zcat(collected, tmp_path):
    _, _, directory = collected
    if not shutil.which("rsync") or not shutil.which("zcat"):
        pytest.skip("rsync and zcat are not both installed")
    subprocess.run(["rsync", "-a", f"{directory / 'store' / 'blobs'}/", str(tmp_path / "elsewhere")], check=True)
    assert_named_by_content(tmp_path / "elsewhere")


def test_a_hundred_blobs_hash_to_their_names(collected):
    _, _, directory = collected
    if not shutil.which("zcat"):
        pytest.skip("zcat is not installed")
    assert_named_by_content(directory / "store" / "blobs")


def assert_named_by_content(blobs):
    files = sorted(blobs.rglob("*.gz"))
    for file in random.Random(1).sample(files, min(25, len(files))):
        body = subprocess.run(["zcat", str(file)], check=True, capture_output=True).stdout
        assert f"{Digest.of(body)}.gz" == file.name


def test_pruning_to_a_cap_keeps_every_row(copied):
    store, lines, _ = copied
    (used,) = store.sql("SELECT sum(ceil(stored_bytes / 4096.0)::BIGINT * 4096) FROM bodies").fetchone()
    planned = store.prune(RetentionPolicy(max_total_body_bytes=int(used) // 2), dry_run=True)
    summary = store.prune(RetentionPolicy(max_total_body_bytes=int(used) // 2))
    assert summary.records_deleted == 0
    assert summary.bodies_evicted == summary.bodies_deleted == planned.bodies_evicted > 0
    (left,) = store.sql(
        "SELECT sum(ceil(stored_bytes / 4096.0)::BIGINT * 4096) FROM bodies WHERE state = 'present'"
    ).fetchone()
    assert left <= used // 2
    assert store.stats()["records"] == len(lines)
    assert store.verify(data=True).findings == ()


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
