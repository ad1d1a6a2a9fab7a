"""The command that makes journals: ``python -m benchmarks.corpus KIND RECORDS PATH [--seed N]``."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from benchmarks.corpora.chats import Chats
from benchmarks.corpora.coding_agent import CodingAgent
from benchmarks.corpora.journal import write_lines
from benchmarks.corpora.services import Services
from benchmarks.corpora.tool_agent import ToolAgent
from benchmarks.corpora.warming import Warming

PROGRESS_S = 5.0
"""Between two lines of progress."""


class Journal(Protocol):
    """A journal to be."""

    def lines(self) -> Iterator[str]:
        """Yield the lines in order of time, without their newlines."""


class Kind(NamedTuple):
    """A kind of application whose journals can be made."""

    about: str
    make: Callable[[int, int], Journal]
    """Takes the number of records, exact and at least 1, and the seed."""


KINDS: Mapping[str, Kind] = {
    "tool-agent": Kind(
        "turns of one to six steps, a provider call and a tool each, all with bodies",
        lambda records, seed: ToolAgent(records=records, seed=seed, body_share=1.0),
    ),
    "coding-agent": Kind(
        "long sessions whose requests of 90 to 860 KB resend nearly all of the one before; 65 KB a record",
        CodingAgent.for_records,
    ),
    "chats": Kind(
        "a person's few messages, one streamed answer each",
        lambda records, seed: Chats(records=records, seed=seed),
    ),
    "warming": Kind(
        "an agent that sends its last request again every few minutes, byte for byte",
        lambda records, seed: Warming(records=records, seed=seed),
    ),
    "services": Kind(
        "log records of several services under few spans, errors in bursts, no bodies",
        lambda records, seed: Services(records=records, seed=seed),
    ),
}


def main(arguments: list[str] | None = None) -> int:
    """Write the journal that was asked for; returns the exit code."""
    asked = _parser().parse_args(arguments)
    path: Path = asked.path
    try:
        path.touch(exist_ok=False)
    except OSError as error:
        print(f"wanted a new file, found {path}: {error.strerror}; name another path", file=sys.stderr)
        return 1
    start_s = time.monotonic()
    journal = KINDS[asked.kind].make(asked.records, asked.seed)
    try:
        write_lines(path, _watched(journal.lines(), asked.records))
    except BaseException:  # also when interrupted: a part of a journal reads like a whole one
        path.unlink()
        raise
    seconds = time.monotonic() - start_s
    print(f"{path}: {asked.records:,} records, {path.stat().st_size:,} bytes, {seconds:.0f} s")
    return 0


def _watched(lines: Iterable[str], records: int) -> Iterator[str]:
    """Pass lines on and say now and then how far it has come."""
    size_bytes, next_s = 0, time.monotonic() + PROGRESS_S
    for number, line in enumerate(lines, 1):
        yield line
        size_bytes += len(line) + 1
        if time.monotonic() >= next_s:
            print(f"{number:,} of {records:,} records, {size_bytes / 1e6:,.0f} MB", file=sys.stderr)
            next_s += PROGRESS_S


def _parser() -> argparse.ArgumentParser:
    about = "\n".join(f"  {name:13} {kind.about}" for name, kind in KINDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.corpus",
        description=f"Write a journal; the same arguments and Python give the same bytes.\n\nkinds:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", metavar="KIND", choices=list(KINDS), help="one of the above")
    parser.add_argument("records", metavar="RECORDS", type=_count, help="how many, such as 1_000_000")
    parser.add_argument("path", metavar="PATH", type=Path, help="a new file")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another journal of the same kind; default 1")
    return parser


def _count(text: str) -> int:
    records = int(text) if text.replace("_", "").isdecimal() else 0
    if records < 1:
        raise argparse.ArgumentTypeError(f"wanted a whole number from 1 on, found {text!r}")
    return records


if __name__ == "__main__":
    sys.exit(main())
