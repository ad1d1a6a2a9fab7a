"""Products that people use today, on one journal: bytes on disk, and after half is deleted; with --peers."""

import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TypeAlias

from benchmarks.corpora.coding_agent import CodingAgent
from benchmarks.harness import Bar, Figure, Options, at_least, disk_bytes, in_child, interleave, ratios
from benchmarks.peers import PEERS, Peer
from benchmarks.peers.calls import steps
from benchmarks.peers.environment import PeerFailed, in_environment, prepared
from tracestore import RetentionPolicy, TraceStore
from tracestore.maintenance.retention import GRACE_MS
from tracestore.record import NS_PER_MS

SMALL_CONVERSATIONS = 3
FULL_CONVERSATIONS = 12
"""Two days of the week: with all of it the peers take half an hour."""
BARS: dict[str, Bar] = {"phoenix": at_least(60), "mlflow": at_least(60)}
"""How many times more they take on disk, for a coding agent at full scale."""
OUR_DURABILITY = "on disk before a batch is acknowledged, fsync on"
OUR_UNLIKE = "the whole directory: database, packs, snapshots; logs too"
HALF = "half of the bodies' bytes, by the turns' age, with the product's own means; no VACUUM by hand"


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
    """The same after the turns of the older half of the bodies' bytes were deleted; None if it cannot."""


_Side: TypeAlias = Callable[[], Outcome | None]


def run(options: Options) -> list[Figure]:
    """Give every provider call of the journal to each side, weigh, delete the older half, and weigh again."""
    if not options.peers:
        print("peers: skipped, for it installs products of 2 GB; ask for it with --peers", file=sys.stderr)
        return []
    journal = options.journal or _agent_journal(options)
    calls, cutoff_ms = _calls_and_middle(journal)
    sides: dict[str, _Side] = {"ours": partial(_ours, journal, calls, cutoff_ms, options)}
    for peer in PEERS:
        if python := _python(peer):
            sides[peer.name] = partial(_theirs, peer, python, journal, cutoff_ms, options)
    results: dict[str, list[Outcome]] = {}
    for name, outcomes in interleave(options.slow_rounds, sides, warm_up=False).items():
        if done := [outcome for outcome in outcomes if outcome is not None]:
            results[name] = done
    is_judged = options.scale == "full" and options.journal is None
    return [*_own_figures(journal, results["ours"]), *_figures(results, BARS if is_judged else {})]


def _agent_journal(options: Options) -> Path:
    path = options.directory("peers-journal") / "agent-week.ndjson"
    return CodingAgent(conversations=options.pick(SMALL_CONVERSATIONS, FULL_CONVERSATIONS)).write(path)


def _calls_and_middle(journal: Path) -> tuple[int, int]:
    """Return how many provider calls there are, and when the turn with the middle byte of the bodies began, ms."""
    calls = 0
    starts_ms: dict[str, float] = {}
    sizes: Counter[str] = Counter()
    for step in steps(journal):
        starts_ms.setdefault(step.turn_id, step.start_ms)
        if step.is_call and step.end_ms is not None:
            calls += 1
            sizes[step.turn_id] += len(step.request or "") + len(step.response or "")
    if not calls:
        raise RuntimeError(f"{journal}: wanted provider calls with bodies, found none")
    turns = sorted(sizes, key=starts_ms.__getitem__)
    middle = bisect_left(list(accumulate(sizes[turn] for turn in turns)), sizes.total() / 2)
    return calls, int(starts_ms[turns[middle]])


def _ours(journal: Path, calls: int, cutoff_ms: int, options: Options) -> Outcome:
    """Collect, pack with no grace, and prune by age; then again, as by itself, for what was replaced waits an hour."""
    store = options.directory("peers-ours") / "store"
    collected, packed = in_child("collect", journal, store), in_child("pack", store)
    stored_bytes = disk_bytes(store)
    for now_ns in (time.time_ns, lambda: time.time_ns() + 2 * GRACE_MS * NS_PER_MS):
        with TraceStore(store, now_ns=now_ns) as opened:
            opened.prune(RetentionPolicy(max_age=now_ns() // NS_PER_MS - cutoff_ms))
    memory_bytes = max(collected["peak_rss_bytes"], packed["peak_rss_bytes"])
    return Outcome(calls, collected["wall_s"], packed["pack_s"], memory_bytes, stored_bytes, disk_bytes(store))


def _python(peer: Peer) -> Path | None:
    """Return the Python of a peer's environment; None, and a line on stderr, when there is none to be had."""
    try:
        return prepared(peer)
    except PeerFailed as error:
        print(f"peers: left out: {error}", file=sys.stderr)
        return None


def _theirs(peer: Peer, python: Path, journal: Path, cutoff_ms: int, options: Options) -> Outcome | None:
    """Let a peer do the same in its own environment; None, and a line on stderr, when it does not."""
    directory = options.directory(f"peers-{peer.name}")
    try:
        fed = in_environment(peer, python, "feed", journal.resolve(), directory)
        stored_bytes, kept_bytes = disk_bytes(directory / "store"), None
        if peer.can_delete:
            deleted = in_environment(peer, python, "delete", str(cutoff_ms), directory)["deleted"]
            if not deleted:
                raise PeerFailed(f"{peer.name}: wanted the older half deleted, found nothing deleted")
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
    yield from _side("ours", "ours, packed", OUR_DURABILITY, OUR_UNLIKE, results["ours"])
    for peer in PEERS:
        outcomes = results.get(peer.name, [])
        if len(outcomes) != len(results["ours"]):
            continue  # a round of it failed, which was told
        yield from _side(peer.title, f"{peer.title} ({peer.requirement})", peer.durability, peer.unlike, outcomes)
        sizes = ratios([each.stored_bytes for each in outcomes], [each.stored_bytes for each in results["ours"]])
        speeds = ratios([each.wall_s for each in outcomes], [each.wall_s for each in results["ours"]])
        bar = bars.get(peer.name)
        yield Figure(f"{peer.title} on disk over ours", "x", sizes, bar, peer.unlike, against=peer.title)
        yield Figure(f"our speed over {peer.title}", "x", speeds, note=peer.durability, against=peer.title)


def _side(name: str, title: str, durability: str, unlike: str, outcomes: list[Outcome]) -> Iterator[Figure]:
    """Yield the figures of one side alone."""
    yield Figure(title, "MB", [each.stored_bytes / 1e6 for each in outcomes], note=unlike)
    if all(each.kept_bytes is not None for each in outcomes):
        kept_bytes = [each.kept_bytes or 0 for each in outcomes]
        given_back = [1 - kept / each.stored_bytes for kept, each in zip(kept_bytes, outcomes, strict=True)]
        yield Figure(f"{name}, older half deleted", "MB", [kept / 1e6 for kept in kept_bytes], note=HALF)
        yield Figure(f"{name}, given back by deleting half", "%", [share * 100 for share in given_back])
    yield Figure(f"{name}, speed", "calls/s", [each.calls / each.wall_s for each in outcomes], note=durability)
    yield Figure(f"{name}, peak memory", "MB", [each.memory_bytes / 1e6 for each in outcomes])
