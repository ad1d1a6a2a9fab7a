"""Speed and memory of packing, ingest beside it, and a backlog straight into packs against files."""

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.corpora.coding_agent import SMALL_CONVERSATIONS, CodingAgent
from benchmarks.harness import Figure, Options, at_least, at_most, in_child, interleave, ratios
from benchmarks.journals import agent_journal

ARRIVING_SEED = 2
"""The journal that comes in while the other one is packed is another week."""


def run(options: Options) -> list[Figure]:
    """Measure each in fresh processes, on stores of the same journal."""
    journal = agent_journal(options)
    return [*_backlog(journal, options), *_packing(journal, options)]


def _backlog(journal: Path, options: Options) -> list[Figure]:
    sides = {task: partial(_collect, task, journal, options) for task in ("collect", "collect_loose")}
    results = interleave(options.rounds, sides)
    megabytes = journal.stat().st_size / 1e6
    packed, loose = ([result["wall_s"] for result in results[task]] for task in sides)
    return [
        Figure("backlog into packs", "MB/s", [megabytes / s for s in packed], note=f"{megabytes:.1f} MB of journal"),
        Figure("backlog into files", "MB/s", [megabytes / s for s in loose], note="a store with no_pack"),
        Figure("packs over files", "x", ratios(loose, packed), at_least(2)),
        Figure("backlog into packs, peak memory", "MB", [r["peak_rss_bytes"] / 1e6 for r in results["collect"]]),
    ]


def _collect(task: str, journal: Path, options: Options) -> dict[str, Any]:
    return in_child(task, journal, options.directory(task) / "store")


def _packing(journal: Path, options: Options) -> list[Figure]:
    """Pack copies of one loose store: alone, and while another journal is collected into it."""
    loose = options.directory("loose") / "store"
    in_child("collect_loose", journal, loose)
    (loose / "no-pack").unlink()
    arriving = CodingAgent(conversations=SMALL_CONVERSATIONS, seed=ARRIVING_SEED)
    arriving_journal = arriving.write(options.directory("arriving") / "journal.ndjson")
    sides: dict[str, Callable[[], dict[str, Any]]] = {
        "pack": lambda: in_child("pack", _copy(loose, options)),
        "alone": lambda: in_child("collect_timed", arriving_journal, _copy(loose, options)),
        "beside": lambda: in_child("collect_while_packing", arriving_journal, _copy(loose, options)),
    }
    results = interleave(options.rounds, sides)
    megabytes = arriving_journal.stat().st_size / 1e6
    alone, beside = ([result["collect_s"] for result in results[name]] for name in ("alone", "beside"))
    overlap = sum(result["was_packing"] for result in results["beside"])
    raw_megabytes = results["pack"][0]["raw_bytes"] / 1e6
    speeds = [raw_megabytes / result["pack_s"] for result in results["pack"]]
    return [
        Figure("packing on one core", "MB/s", speeds, at_least(150), f"{raw_megabytes:.0f} MB of bodies"),
        Figure("packing, by processor time", "MB/s", [raw_megabytes / r["pack_cpu_s"] for r in results["pack"]]),
        Figure("removal of what was packed", "s", [r["removal_s"] for r in results["pack"]], note="an hour later"),
        Figure("packing, peak memory", "MB", [r["peak_rss_bytes"] / 1e6 for r in results["pack"]], at_most(300)),
        Figure("ingest alone", "MB/s", [megabytes / s for s in alone], note=f"{megabytes:.1f} MB of journal"),
        Figure("ingest while packing", "MB/s", [megabytes / s for s in beside], note=f"to its end in {overlap} rounds"),
        Figure("ingest while packing over alone", "x", ratios(alone, beside), at_least(0.7)),
    ]


def _copy(store: Path, options: Options) -> Path:
    """Copy a store; loose blobs never change, so they are linked."""

    def link_or_copy(source: str, target: str) -> None:
        (os.link if "/objects/" in source else shutil.copy2)(source, target)

    return Path(shutil.copytree(store, options.directory("copy") / "store", copy_function=link_or_copy))
