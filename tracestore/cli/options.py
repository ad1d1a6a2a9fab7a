"""Options that commands share, and how they open the store that those name."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import click

from tracestore.cli.output import say
from tracestore.errors import InputInvalid, StoreLocked

if TYPE_CHECKING:
    from tracestore.maintenance.retention import RetentionPolicy
    from tracestore.store import TraceStore

_Command = TypeVar("_Command", bound=Callable[..., None])
_Decorator: TypeAlias = Callable[[_Command], _Command]

DEFAULT_STORE = Path("tracestore-data")

store_option = click.option(
    "--store",
    type=click.Path(path_type=Path),
    envvar="TRACESTORE_DIR",
    default=DEFAULT_STORE,
    metavar="DIR",
    help=f"The store. Default: $TRACESTORE_DIR, then ./{DEFAULT_STORE}.",
)
grace_option = click.option(
    "--grace",
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="How long files that were replaced stay, for a copy of the directory that may be running; 0: none.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def common_options(command: _Command) -> _Command:
    """Add what every command takes."""
    return store_option(json_option(command))


def retention_options(command: _Command) -> _Command:
    """Add the two rules of a retention policy."""
    max_age = click.option(
        "--max-age",
        envvar="TRACESTORE_MAX_AGE",
        metavar="DURATION",
        help="Turns older than this go, whole: 7d, 36h. Default: $TRACESTORE_MAX_AGE, then no rule.",
    )
    max_body_bytes = click.option(
        "--max-body-bytes",
        envvar="TRACESTORE_MAX_BODY_BYTES",
        metavar="SIZE",
        help="Bodies over this much disk go, least recently used first; their records stay: 256MiB, 4GB."
        " Default: $TRACESTORE_MAX_BODY_BYTES, then no rule.",
    )
    return max_age(max_body_bytes(command))


def policy_of(max_age: str | None, max_body_bytes: str | None) -> "RetentionPolicy":
    """Read a retention policy from its options."""
    from tracestore.maintenance.retention import RetentionPolicy

    return RetentionPolicy(max_age=max_age, max_total_body_bytes=max_body_bytes)


def open_for_reading(path: Path) -> "TraceStore":
    """Open a store that is there, changing nothing."""
    from tracestore.store import TraceStore

    store = TraceStore(path, create=False, read_only=True)
    for notice in store.notices:
        say(notice)
    return store


def open_for_writing(
    path: Path,
    *,
    create: bool,
    keep_journal: bool = False,
    no_pack: bool = False,
    notify: Callable[[str], None] = say,
) -> "TraceStore":
    """Open a store for this process alone; say what had to be mended."""
    from tracestore.store import TraceStore

    store = TraceStore(path, create=create, keep_journal=keep_journal, no_pack=no_pack)
    for notice in store.notices:
        notify(notice)
    return store


def open_for_upkeep(path: Path) -> "TraceStore":
    """Open a store for this process alone, or ask the process that holds it and answers for it."""
    try:
        return open_for_writing(path, create=False)
    except StoreLocked:
        store = open_for_reading(path)
        if store.is_remote:
            return store
        store.close()
        raise


def require(condition: object, message: str) -> None:
    """Refuse a use of options that makes no sense."""
    if not condition:
        raise InputInvalid(message)
