"""Collecting until stopped, and answering meanwhile: what `collect` and `serve` share."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

import click

from tracestore.cli.collect_report import JsonReport, PeopleReport
from tracestore.cli.failures import INTERRUPTED
from tracestore.cli.options import common_options, open_for_writing, policy_of, require, retention_options
from tracestore.cli.output import print_error
from tracestore.collector import Collector, Event
from tracestore.errors import InputInvalid, StoreNotFound
from tracestore.journal.scan import scan
from tracestore.layout import StoreLayout
from tracestore.units import parse_duration_ms

if TYPE_CHECKING:
    from tracestore.serve.server import Listen
    from tracestore.store import TraceStore

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_Command = TypeVar("_Command", bound=Callable[..., None])


@dataclass(frozen=True, slots=True, kw_only=True)
class Collecting:
    """The options that both commands take."""

    store: Path
    as_json: bool
    journals: tuple[Path, ...]
    keep_journal: bool
    no_pack: bool
    prune_every: str
    max_age: str | None
    max_body_bytes: str | None


def collecting_options(command: _Command) -> _Command:
    """Add the options that both commands take."""
    for option in (
        common_options,
        retention_options,
        click.option("--prune-every", default="60s", show_default=True, metavar="DURATION", help="Prune so often."),
        click.option("--no-pack", is_flag=True, help="Keep bodies in gzip files of their own, this time and for good."),
        click.option("--keep-journal", is_flag=True, help="Keep segments in STORE/journal that a snapshot covers."),
        click.option(
            "--journal",
            "journals",
            type=click.Path(path_type=Path),
            metavar="PATH",
            multiple=True,
            help="A journal file with its rotated siblings, or a directory of segments; may be given several times."
            " Default: STORE/journal.",
        ),
    ):
        command = option(command)
    return command


def collect_once(options: Collecting) -> None:
    """Collect what is there now, prune and pack where that is due."""
    with _collector(options, options.journals, is_once=True) as (collector, report, _):
        collector.drain()
        collector.prune_when_due()
        collector.pack_now()
    if report.prune_error is not None:
        raise report.prune_error  # nobody will try again, so the exit code has to say it


def collect_and_answer(
    options: Collecting,
    *,
    journals: Sequence[Path],
    listen: "Listen | None" = None,
    read_files: Sequence[Path] = (),
    is_server: bool = False,
) -> None:
    """Collect until a signal comes, and answer on the store's socket, and on TCP where that is asked for.

    A server says where it answers, and goes on when a disk that refused takes it again, instead of ending.
    """
    from tracestore.serve.health import Status
    from tracestore.serve.server import Server

    status = Status()
    with (
        _collector(options, journals, hear=status, waits_for_disk=is_server) as (collector, report, store),
        Server(store, status, listen=listen, ref_directories=read_files) as server,
        _stopped_by_signals(report, as_json=options.as_json) as stop,
    ):
        if server.address is not None:
            host, port = server.address
            shown = f"[{host}]" if ":" in host else host
            report.tell(f"listening on http://{shown}:{port}; GET / lists what there is")
        elif is_server:
            report.tell(f"answering at {StoreLayout(store.path).socket}, for its owner; --listen answers on TCP too")
        collector.run(stop)
        server.stop()
        collector.drain()  # what was received meanwhile


@contextmanager
def _collector(
    options: Collecting,
    journals: Sequence[Path],
    *,
    is_once: bool = False,
    waits_for_disk: bool = False,
    hear: Callable[[Event], None] = lambda event: None,
) -> "Iterator[tuple[Collector, JsonReport | PeopleReport, TraceStore]]":
    """Open the store, and give a collector of the journals and what reports on it; ``hear`` gets its events too."""
    policy = policy_of(options.max_age, options.max_body_bytes)
    prune_every_s = parse_duration_ms(options.prune_every) / 1000
    require(prune_every_s > 0, "--prune-every: wanted a duration above 0, found 0")
    layout = StoreLayout(options.store)
    _check_paths(layout, journals, is_once)
    report = JsonReport() if options.as_json else PeopleReport(layout.rejected)

    def tell(event: Event) -> None:
        hear(event)
        report(event)

    first, *others = map(str, journals or (layout.journal,))
    with (
        open_for_writing(
            options.store, create=True, keep_journal=options.keep_journal, no_pack=options.no_pack, notify=report.tell
        ) as store,
        closing(
            Collector(
                store, first, tell, also=others, policy=policy, prune_every_s=prune_every_s,
                waits_for_disk=waits_for_disk,
            )
        ) as collector,
        report.until_done(collector),
    ):
        yield collector, report, store


def _check_paths(layout: StoreLayout, journals: Sequence[Path], is_once: bool) -> None:
    """Refuse a mistyped path before anything is made."""
    if is_once and not journals and not layout.is_store() and not layout.journal.is_dir():
        raise StoreNotFound(f"{layout.root}: wanted a store, its journal or --journal, found none; check the path")
    for journal in journals:
        if journal != layout.journal:
            _check_path(journal, is_once)


def _check_path(journal: Path, is_once: bool) -> None:
    require(journal != Path(), "--journal: wanted a path, found nothing")
    if scan(str(journal)) is not None:
        return
    if is_once:
        raise InputInvalid(f"--journal: wanted a file or a directory, found nothing at {journal}; check the path")
    if not journal.parent.is_dir():
        wanted = "a file or a directory, or at least its parent directory to wait in"
        raise InputInvalid(f"--journal: wanted {wanted}, found no {journal.parent}; check the path")


class _Stop:
    """Set by a signal handler, looked at by the collector, both in the main thread.

    A `threading.Event` would deadlock when the signal arrives while it holds its own lock; this has none.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.by: signal.Signals | None = None
        self._tell = tell
        self._told = False

    def is_set(self) -> bool:
        """Tell whether a signal came; says so the first time, which a handler must not."""
        if self.by is not None and not self._told:
            self._told = True
            self._tell(f"{self.by.name}: finishing what is there; once more stops at once")
        return self.by is not None

    def wait(self, timeout: float) -> bool:
        """Sleep; a signal does not cut it short, so keep it short."""
        time.sleep(timeout)
        return self.is_set()


@contextmanager
def _stopped_by_signals(report: JsonReport | PeopleReport, *, as_json: bool) -> Iterator[_Stop]:
    """Give what the first signal sets; the second one ends the process, as a crash does, which loses nothing."""
    stop = _Stop(report.tell)

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.by is not None:
            try:
                print_error("Interrupted", "interrupted", INTERRUPTED, as_json=as_json)
            finally:
                os._exit(INTERRUPTED)  # threads of the server may have something to do for seconds
        stop.by = signal.Signals(number)

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
