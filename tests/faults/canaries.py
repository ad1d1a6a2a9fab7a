"""Is the campaign sharp? Stores that lack one safety step each; every one has to be caught.

A canary is a build with one sync of one place, one note, one proof, a mutex or the look before the deletion
taken away. The syncs are not listed by hand: a run is asked which it does, at which places, so that a
sync that is added is a canary from then on. What catches them:

    every sync              `trace`: the order of the real system calls breaks the protocol. On one
                            ext4 or xfs a later fsync makes up for most of them, so a power cut
                            alone would let them by (`power` and `blocklog` take ``without`` too)
    a mutex, the re-check   `interleavings`: some forced order loses a body
    a proof                 `proofs`: a life that meets the fault that it is for
    notes for a rebuild     `kill`, with the database lost before there is a snapshot

A campaign that misses more than one in twenty has failed.
"""

import random
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults import interleavings, kill, proofs, steps, trace
from tests.faults.report import Report
from tests.faults.zygote import Zygote

CAMPAIGN = "canaries"
WORKERS = 2
WANTED_SHARE = 0.95
SEED = 3
"""Of the run whose order is traced: it collects before it inserts, and comes to every step."""
LOCKS: dict[str, frozenset[interleavings.Side]] = {
    steps.RECHECK: frozenset({"sweeper", "writer"}),
    steps.LOCK: frozenset({"sweeper", "writer"}),
    steps.MOVING: frozenset({"sweeper", "unpacker"}),
}
"""What holds threads apart, and two of those that it is for."""
REDUNDANT = {
    "blob directory sync @ .": "the database, made after blobs/, syncs the same directory before anything is promised",
    **dict.fromkeys(
        ("store file sync @ restored/FORMAT.restoring", "store file sync @ restored/FORMAT.restoring.new"),
        "the whole directory is synced between the two",
    ),
    "store file sync @ records.duckdb.new": "DuckDB has synced the file at its own checkpoint",
}  # fmt: skip
"""Syncs that something else makes up for, wherever they are taken away; no canaries, for nothing can be lost."""


def run(count: int = 0, seed: int = SEED, say: Callable[[str], None] = lambda text: None) -> Report:
    """Try every canary, or so many drawn by the seed; those that nobody notices are the violations.

    So is a protocol that is broken with nothing taken away.
    """
    report = Report(CAMPAIGN, seed)
    root = Path(tempfile.mkdtemp(prefix="tracestore-canaries-"))
    try:
        met = discover(root)
        syncs = [name for name in met if name not in REDUNDANT]
        syncs = random.Random(seed).sample(syncs, count) if 0 < count < len(syncs) else syncs
        whole = [*_trace(root, "cycle"), *_trace(root, "maintenance"), *_trace(root, "cycle", seed=SEED - 1)]
        with ThreadPoolExecutor(WORKERS) as pool:
            breaches = pool.map(lambda name: _trace(root, met[name], name), syncs)
            heard = {name: bool(found) for name, found in zip(syncs, breaches, strict=True)}
        with Zygote() as zygote:
            heard |= {name: _rebuilt(zygote, root, name) for name in steps.NOTES}
            whole += [loss for name in steps.PROOFS for loss in _unproved(zygote, root, name, is_whole=True)]
            heard |= {name: bool(_unproved(zygote, root, name, is_whole=False)) for name in steps.PROOFS}
    finally:
        shutil.rmtree(root)
    for name, between in LOCKS.items():
        heard[name] = bool(interleavings.run(without=name, between=between).violations)
    missed = [name for name, caught in heard.items() if not caught]
    for name, caught in heard.items():
        say(f"{'caught' if caught else 'MISSED'}  {name}")
    report.tries = len(heard)
    report.notes["caught"] = len(heard) - len(missed)
    report.violations += [f"without any removal: {breach}" for breach in whole]
    report.violations += [f"REDUNDANT names a sync that nobody does: {name}" for name in REDUNDANT.keys() - met.keys()]
    if len(missed) > (1 - WANTED_SHARE) * len(heard):
        report.violations += [f"nobody noticed that it was gone: {name}" for name in missed]
    return report


def discover(root: Path) -> dict[str, trace.Life]:
    """Return every sync that is done, as "step @ place", and a life in which that happens."""
    met: dict[str, trace.Life] = {}
    with Zygote() as zygote:
        for life, live in reversed(trace.LIVES.items()):
            outcome = zygote.run(steps.sync_places, live, str(_made(root / f"whole {life}")), SEED)
            if outcome.value is None:
                raise RuntimeError(f"the {life} fails without any fault: {outcome.error or outcome}")
            met |= dict.fromkeys(outcome.value, life)
    return dict(sorted(met.items()))


def _trace(root: Path, life: trace.Life, without: str | None = None, *, seed: int = SEED) -> list[str]:
    return trace.run(Path(tempfile.mkdtemp(dir=root)), seed, without, life)


def _rebuilt(zygote: Zygote, root: Path, name: str) -> bool:
    """Tell whether the oracle notices that a note was missing for a rebuild."""
    place = kill.Place(_made(root / name))
    if not zygote.run(_die_without, place, name).was_killed:
        raise RuntimeError(f"a run without {name!r} should have died before its snapshot")
    judged = zygote.run(kill.judge, place, SEED, "after")
    return judged.value is None or judged.value[0] != []


def _unproved(zygote: Zygote, root: Path, name: str, *, is_whole: bool) -> list[str]:
    """Return what is lost in the life that needs a proof, with it or without."""
    home = Path(tempfile.mkdtemp(dir=root)) / "life"
    outcome = zygote.run(proofs.live, str(home), name, is_whole=is_whole)
    if outcome.value is None:
        raise RuntimeError(f"the life of {name!r} fails: {outcome.error or outcome}")
    return outcome.value


def _die_without(place: kill.Place, name: str) -> None:
    steps.remove(name)
    steps.kill_at("snapshot taken")
    kill.live(place, SEED, 0)


def _made(root: Path) -> Path:
    root.mkdir(exist_ok=True)
    return root
