"""`tracestore collect`: journal lines into the store, until stopped."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

import click

from tracestore.cli.collect_report import JsonReport, PeopleReport
from tracestore.cli.options import common_options, open_for_writing, policy_of, require, retention_options
from tracestore.collector import Collector
from tracestore.errors import InputInvalid, StoreNotFound
from tracestore.journal.scan import scan
from tracestore.layout import StoreLayout
from tracestore.units import parse_duration_ms

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@click.command("collect", short_help="Move journal lines into the store, until stopped.")
@click.option(
    "--journal",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A journal file with its rotated siblings, or a directory of segments. Default: STORE/journal.",
)
@click.option("--once", is_flag=True, help="Collect what is there now, prune where there is a rule, and exit.")
@click.option("--keep-journal", is_flag=True, help="Keep segments in STORE/journal that a snapshot covers.")
@click.option("--no-pack", is_flag=True, help="Keep bodies in gzip files of their own, this time and for good.")
@click.option("--prune-every", default="60s", show_default=True, metavar="DURATION", help="Prune so often.")
@retention_options
@common_options
def command(
    store: Path,
    as_json: bool,
    journal: Path | None,
    once: bool,
    keep_journal: bool,
    no_pack: bool,
    prune_every: str,
    max_age: str | None,
    max_body_bytes: str | None,
) -> None:
    """Move journal lines into the store, until stopped; each batch is durable, nothing is lost or doubled.

    Without --once it runs until it is stopped, and holds the store: no other process can read it meanwhile.
    The rotated siblings of a file are PATH.1, PATH.2 and so on; in a directory every file with .ndjson or .jsonl in its
    name is a segment.

    Makes the store where nothing is. A journal that is not there yet is waited for, if its
    directory is. A line that is no record goes to STORE/journal/rejected.ndjson with the reason.
    A snapshot of the rows is taken once per 64 MiB of journal and once a day; segments that
    tracestore wrote in STORE/journal are removed once a snapshot covers them.
    Prunes at the start and then every --prune-every, where --max-age or --max-body-bytes gives a
    rule. Looks every minute whether bodies are many enough to be packed (tracestore pack --help),
    and packs them in the background; --no-pack keeps the store as plain gzip files. Ctrl-C and
    SIGTERM finish what is there and exit with 0; a second one stops at once.

    With --json every batch, notice and prune is one JSON object on a line of stdout, its kind in
    "event"; the last one is "done".
    """
    policy = policy_of(max_age, max_body_bytes)
    prune_every_s = parse_duration_ms(prune_every) / 1000
    require(prune_every_s > 0, "--prune-every: wanted a duration above 0, found 0")
    layout = StoreLayout(store)
    _check_paths(layout, journal, once)
    report = JsonReport() if as_json else PeopleReport(layout.rejected)
    with (
        open_for_writing(
            store, create=True, keep_journal=keep_journal, no_pack=no_pack, notify=report.tell
        ) as opened,
        closing(
            Collector(opened, str(journal or layout.journal), report, policy=policy, prune_every_s=prune_every_s)
        ) as collector,
        report.until_done(collector),
    ):
        if once:
            collector.drain()
            collector.prune_when_due()
            collector.pack_now()
        else:
            with _stopped_by_signals(report) as stop:
                collector.run(stop)
    if once and report.prune_error is not None:
        raise report.prune_error  # nobody will try again, so the exit code has to say it


def _check_paths(layout: StoreLayout, journal: Path | None, once: bool) -> None:
    """Refuse a mistyped path before anything is made."""
    if journal is None:
        if once and not layout.is_store():
            raise StoreNotFound(f"{layout.root}: wanted a store or --journal, found neither; check the path")
        return
    require(journal != Path(), "--journal: wanted a path, found nothing")
    if scan(str(journal)) is not None:
        return
    if once:
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
def _stopped_by_signals(report: JsonReport | PeopleReport) -> Iterator[_Stop]:
    """Give what the first signal sets; the second one interrupts."""
    stop = _Stop(report.tell)

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.by is not None:
            raise KeyboardInterrupt
        stop.by = signal.Signals(number)

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
