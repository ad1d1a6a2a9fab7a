"""Where results go and how they look: tables for a terminal, plain text for a pipe, JSON for a program.

Whatever comes out of a trace is escaped before a person sees it: names and messages come from
models and strangers, and could drive the terminal. `rich` is loaded for a terminal only.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from tracestore.views.printable import escape_in_json, escape_to_one_line
from tracestore.views.values import jsonable

Progress = Callable[[int, int], None]
"""Takes what is done and what there is to do."""


def is_terminal(stream: TextIO) -> bool:
    """Tell whether a person looks at a stream."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def print_text(text: str) -> None:
    """Print a result; its lines are escaped already. What the encoding lacks becomes an escape."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def print_line(text: str) -> None:
    """Print one line of a result, whatever the text holds."""
    print_text(escape_to_one_line(text))


def print_json(value: Any) -> None:
    """Print the one JSON document of a command."""
    sys.stdout.write(_json_text(value, sys.stdout, indent=2 if is_terminal(sys.stdout) else None) + "\n")


def print_json_line(value: Any) -> None:
    """Print one of many JSON objects, at once."""
    sys.stdout.write(_json_text(value, sys.stdout) + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[str] = frozenset()) -> None:
    """Print rows under their columns, those of ``right`` flush right; tabs between them in a pipe.

    A terminal that is too narrow breaks the lines itself: a folded id cannot be copied.
    """
    safe = [[escape_to_one_line(cell) for cell in row] for row in rows]
    if not is_terminal(sys.stdout):
        for row in [list(columns), *safe]:
            print_text("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(Text(name), justify="right" if name in right else "left", no_wrap=True)
    for row in safe:
        table.add_row(*(Text(cell) for cell in row))  # Text, because brackets are markup to rich
    console = Console(file=sys.stdout)
    console.width = max(console.width, console.measure(table, options=console.options.update(width=10_000)).maximum)
    console.print(table)


def print_records(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows below one another, one line per value: for rows that are wider than the terminal."""
    width = max(map(len, columns), default=0)
    for number, row in enumerate(rows, start=1):
        print_text(f"row {number}")
        for name, cell in zip(columns, row, strict=True):
            print_line(f"  {name:<{width}}  {cell}")


def fits_terminal(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bool:
    """Tell whether a table of these rows is no wider than the terminal."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    return sum(widths) + 3 * len(widths) <= shutil.get_terminal_size().columns


def say(text: str) -> None:
    """Tell a person something beside the result."""
    _print_to_stderr(f"tracestore: {escape_to_one_line(text)}")


def print_error(kind: str, message: str, code: int, *, as_json: bool) -> None:
    """Print why a command failed."""
    if as_json:
        return _print_to_stderr(_json_text({"error": kind, "message": message, "exit_code": code}, sys.stderr))
    if kind == "QueryInvalid":  # the database shows the place in the query on lines of their own
        message = "\n".join(escape_to_one_line(line) for line in message.splitlines() if line.strip())
    else:
        message = escape_to_one_line(message)
    _print_to_stderr(f"tracestore: {message}")


@contextmanager
def progress(doing: str) -> Iterator[Progress]:
    """Show how far something is, on a terminal; elsewhere the callback does nothing."""
    if not is_terminal(sys.stderr):
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


class StatusLine:
    """One line on a terminal that is written over; silent elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_shown = is_terminal(stream)

    def show(self, text: str) -> None:
        """Replace the line."""
        if self.is_shown:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"\r\x1b[K{text[:width]}")
            self._stream.flush()

    def clear(self) -> None:
        """Take the line away, so that something else can be printed."""
        self.show("")


def _json_text(value: Any, stream: TextIO, indent: int | None = None) -> str:
    is_unicode = (stream.encoding or "").lower().replace("-", "").startswith("utf")
    separators = None if indent else (",", ":")
    return escape_in_json(
        json.dumps(
            value, default=jsonable, ensure_ascii=not is_unicode, indent=indent, separators=separators, allow_nan=False
        )
    )


def _print_to_stderr(text: str) -> None:
    try:
        encoding = sys.stderr.encoding or "utf-8"
        sys.stderr.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stderr.flush()
    except OSError:
        return  # nobody can be told; the exit code still says it
