"""Products that people use today, on one journal: bytes on disk, and after half is deleted; with --peers."""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from benchmarks.corpora.coding_agent import CodingAgent
from benchmarks.harness import Bar, Figure, Options, at_least, disk_bytes, in_child, interleave, ratios
from benchmarks.peers import PEERS, Peer
from benchmarks.peers.calls import steps
from benchmarks.peers.environment import PeerFailed, in_environment, prepared
from tracestore import RetentionPolicy, TraceStore

CONVERSATIONS = (3, 20)
"""At small and at full scale; the slowest peer takes minutes for the latter."""
BARS: dict[str, Bar] = {"phoenix": at_least(60), "mlflow": at_least(60)}
"""How many times more they take on disk, for a coding agent at full scale."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one side made of the journal."""

    calls: float
    wall_s: float
    pack_s: float
    memory_bytes: float
    stored_bytes: int
    """Of the whole directory, as du counts, with nothing running."""
    kept_bytes: int | None
    """The same after the older half of the turns was deleted; None if it cannot."""


_Side: TypeAlias = Callable[[], Outcome | None]


def run(options: Options) -> list[Figure]:
    """Give every provider call of the journal to each side, weigh, delete the older half, and weigh again."""
    if not options.peers:
        print("peers: skipped, for it installs products of 2 GB; ask for it with --peers", file=sys.stderr)
        return []
    journal = options.journal or _agent_journal(options)
    calls, cutoff_ms = _calls_and_middle(journal)
    sides: dict[str, _Side] = {"ours": partial(_ours, journal, calls, cutoff_ms, options)}
    sides |= {peer.name: partial(_theirs, peer, journal, cutoff_ms, options) for peer in PEERS}
    results: dict[str, list[Outcome]] = {}
    for name, outcomes in interleave(options.slow_rounds, sides, warm_up=False).items():
        if done := [outcome for outcome in outcomes if outcome is not None]:
            results[name] = done
    is_judged = options.scale == "full" and options.journal is None
    return [*_own_figures(journal, results["ours"]), *_figures(results, BARS if is_judged else {})]


def _agent_journal(options: Options) -> Path:
    path = options.directory("peers-journal") / "agent-days.ndjson"
    return CodingAgent(conversations=options.pick(*CONVERSATIONS)).write(path)


def _calls_and_middle(journal: Path) -> tuple[int, int]:
    """Return how many provider calls there are, and when the middle one of the turns began, milliseconds."""
    calls, starts_ms = 0, []
    for step in steps(journal):
        if step.end_ms is None and step.parent_id is None:
            starts_ms.append(step.start_ms)
        calls += step.is_call and step.end_ms is not None
    if not calls:
        raise RuntimeError(f"{journal}: wanted provider calls with bodies, found none")
    return calls, int(statistics.median_high(starts_ms))


def _ours(journal: Path, calls: int, cutoff_ms: int, options: Options) -> Outcome:
    """Collect, pack with no grace, and prune by age."""
    store = options.directory("peers-ours") / "store"
    collected, packed = in_child("collect", journal, store), in_child("pack", store)
    stored_bytes = disk_bytes(store)
    with TraceStore(store) as opened:
        opened.prune(RetentionPolicy(max_age=time.time_ns() // 1_000_000 - cutoff_ms))
    memory_bytes = max(collected["peak_rss_bytes"], packed["peak_rss_bytes"])
    return Outcome(calls, collected["wall_s"], packed["pack_s"], memory_bytes, stored_bytes, disk_bytes(store))


def _theirs(peer: Peer, journal: Path, cutoff_ms: int, options: Options) -> Outcome | None:
    """Let a peer do the same in its own environment; None, and a line on stderr, when it cannot."""
    directory = options.directory(f"peers-{peer.name}")
    try:
        python = prepared(peer)
        fed = in_environment(peer, python, "feed", journal.resolve(), directory)
        stored_bytes, kept_bytes = disk_bytes(directory / "store"), None
        if peer.can_delete:
            in_environment(peer, python, "delete", str(cutoff_ms), directory)
            kept_bytes = disk_bytes(directory / "store")
    except PeerFailed as error:
        print(f"peers: left out: {error}", file=sys.stderr)
        return None
    return Outcome(fed["calls"], fed["wall_s"], 0, fed["peak_rss_bytes"], stored_bytes, kept_bytes)


def _own_figures(journal: Path, ours: list[Outcome]) -> Iterator[Figure]:
    journal_mb = journal.stat().st_size / 1e6
    pack_s = [outcome.pack_s for outcome in ours]
    yield Figure("journal", "MB", [journal_mb], note=f"{ours[0].calls:,} provider calls, as NDJSON")
    yield Figure("ours, packing", "s", pack_s, note="on one core, after ingest; not in our calls a second")


def _figures(results: dict[str, list[Outcome]], bars: dict[str, Bar]) -> Iterator[Figure]:
    ours = results["ours"]
    for name, outcomes in results.items():
        peer = next((peer for peer in PEERS if peer.name == name), None)
        title = f"{peer.title}, {peer.requirement}" if peer else "ours, packed"
        short = peer.title if peer else "ours"
        durable = peer.durability if peer else "on disk before each batch is acknowledged, fsync on"
        unlike = peer.unlike if peer else "the whole directory: database, packs, snapshots; logs too"
        yield Figure(title, "MB", [each.stored_bytes / 1e6 for each in outcomes], note=unlike)
        yield Figure(f"{short}, speed", "calls/s", [each.calls / each.wall_s for each in outcomes], note=durable)
        yield Figure(f"{short}, peak memory", "MB", [each.memory_bytes / 1e6 for each in outcomes])
        if outcomes[0].kept_bytes is not None:
            kept = [(each.kept_bytes or 0) / 1e6 for each in outcomes]
            yield Figure(f"{short}, older half deleted", "MB", kept)
        if peer and len(outcomes) == len(ours):
            sizes = ratios([each.stored_bytes for each in outcomes], [each.stored_bytes for each in ours])
            speeds = ratios([each.wall_s for each in outcomes], [each.wall_s for each in ours])
            yield Figure(f"{short} on disk over ours", "x", sizes, bars.get(name), unlike, against=short)
            yield Figure(f"our speed over {short}", "x", speeds, note=durable, against=short)
