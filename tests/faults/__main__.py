"""The long form: `python -m tests.faults [CAMPAIGN ...] [--seed N] [--count N]`; `make soak` runs all.

Each campaign ends in one line with its tries, its violations and its seed. The exit code is 1 when
any promise was broken, or a campaign could not run for want of something on this machine.
"""

import argparse
import importlib
import inspect
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial

from tests.faults import blockdevice, disks
from tests.faults.report import Report

EVERYTHING = 0
"""A count that stands for all there is."""
CAMPAIGNS: dict[str, int] = {
    "kill": 5_000,
    "interleavings": EVERYTHING,
    "canaries": EVERYTHING,
    "inject": EVERYTHING,
    "full": 600,
    "model": 500,
    "power": 1_000,
    "blocklog": 5_000,
    "fuzz": 200_000,
    "flips": 100_000,
    "crowd": 100,
}
"""Campaigns in their order, each with the tries of its long form."""


def lacking(campaign: str) -> str | None:
    """Say what this machine lacks for a campaign; None when it can run."""
    if campaign in ("canaries", "inject") and shutil.which("strace") is None:
        return "strace is not installed"
    if campaign == "blocklog" and (why := blockdevice.missing()):
        return why
    return disks.missing(*disks.FILE_SYSTEMS) if campaign in ("power", "blocklog", "full") else None


def main() -> int:
    """Run the campaigns that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="The long form of the fault campaign.")
    parser.add_argument("campaign", nargs="*", default=list(CAMPAIGNS), help=f"of {', '.join(CAMPAIGNS)}; default: all")
    parser.add_argument("--seed", type=int, default=1, help="draws the tries; the same seed draws the same")
    parser.add_argument("--count", type=int, help="tries, instead of each campaign's own number")
    asked = parser.parse_args()
    if unknown := set(asked.campaign) - CAMPAIGNS.keys():
        parser.error(f"wanted campaigns of {', '.join(CAMPAIGNS)}; found {', '.join(sorted(unknown))}")
    passed = [run(name, CAMPAIGNS[name] if asked.count is None else asked.count, asked.seed) for name in asked.campaign]
    return 0 if all(passed) else 1


def run(campaign: str, count: int, seed: int) -> bool:
    """Run one campaign and print what became of it; tell whether it ran and found nothing."""
    if why := lacking(campaign):
        say(f"{campaign}: not run: {why}")
        return False
    function: Callable[..., Report] = importlib.import_module(f"tests.faults.{campaign}").run
    if "say" in inspect.signature(function).parameters:
        function = partial(function, say=say)
    started = time.monotonic()
    report = function(count, seed)
    say(f"{report}\n    {time.monotonic() - started:.0f} s")
    return not report.violations


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
