"""What a terminal gets that a pipe does not: tables, whole ids, a status line."""

import io
import sys
from collections.abc import Callable

import pytest

from tracestore.cli import output


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def to_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """`to_terminal()` makes both streams a terminal from then on: pytest changes them before a test's body."""

    def attach() -> Terminal:
        stream = Terminal()
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return attach


def test_a_table_keeps_ids_whole_and_brackets_as_they_are(to_terminal: Callable[[], Terminal]) -> None:
    terminal = to_terminal()
    output.print_table(["id", "n"], [["a" * 70, "[red]x"]], frozenset({"n"}))

    assert "a" * 70 in terminal.getvalue()
    assert "[red]x" in terminal.getvalue()


def test_no_color_is_respected(to_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = to_terminal()
    monkeypatch.setenv("NO_COLOR", "1")
    output.print_table(["id"], [["x"]])

    assert "\x1b[3" not in terminal.getvalue()


def test_rows_that_do_not_fit_come_one_value_a_line(to_terminal: Callable[[], Terminal]) -> None:
    terminal = to_terminal()
    rows = [["1", "b" * 80]]

    assert not output.fits_terminal(["n", "text"], rows)
    assert output.fits_terminal(["n", "text"], [["1", "b"]])
    output.print_records(["n", "text"], rows)
    assert terminal.getvalue() == f"row 1\n  n     1\n  text  {'b' * 80}\n"


def test_a_status_line_is_cut_to_the_terminal_and_replaced(to_terminal: Callable[[], Terminal]) -> None:
    terminal = to_terminal()
    line = output.StatusLine(terminal)
    line.show("x" * 200)
    line.clear()

    assert terminal.getvalue() == f"\r\x1b[K{'x' * 59}\r\x1b[K"


def test_a_dumb_terminal_and_a_pipe_get_no_control_sequences(
    to_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = to_terminal()
    monkeypatch.setenv("TERM", "dumb")
    output.StatusLine(terminal).show("working")
    output.print_table(["id", "n"], [["x", "1"]])
    with output.progress("deleting") as report:
        report(1, 2)

    assert terminal.getvalue() == "id\tn\nx\t1\n"


def test_json_for_a_terminal_is_indented_and_cannot_drive_it(to_terminal: Callable[[], Terminal]) -> None:
    terminal = to_terminal()
    output.print_json({"text": "a\x1b[2J\u202e\U000e0041\ud800 世界"})

    assert terminal.getvalue() == (
        '{\n  "text": "a\\u001b[2J\\u202e\\udb40\\udc41\\ud800 世界"\n}\n'
    )


def test_what_an_encoding_lacks_becomes_an_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    output.print_text("größer")
    output.print_json({"text": "größer"})
    stream.flush()

    assert stream.buffer.getvalue() == b'gr\\xf6\\xdfer\n{"text":"gr\\u00f6\\u00dfer"}\n'


def test_progress_on_a_terminal_moves(to_terminal: Callable[[], Terminal]) -> None:
    terminal = to_terminal()
    with output.progress("deleting bodies") as report:
        report(1, 2)

    assert "deleting bodies" in terminal.getvalue()
