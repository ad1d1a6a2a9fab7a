"""A handler for the standard library's ``logging``: what libraries log, beside what was recorded."""

import logging
import traceback
from contextlib import suppress
from typing import Final

from tracestore.capture.logs import Level, Logs
from tracestore.errors import InputInvalid

_LEVELS: Final[tuple[tuple[int, Level], ...]] = (
    (logging.ERROR, "error"),
    (logging.WARNING, "warn"),
    (logging.INFO, "info"),
    (logging.NOTSET, "debug"),
)
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_OWN_LOGGER: Final = "tracestore"


class JournalHandler(logging.Handler):
    """Records log messages; ``JournalHandler(recorder)`` goes to ``logging.getLogger().addHandler``.

    The logger's name, the place in the code and whatever was given as ``extra`` become attributes, a
    traceback or the stack that was asked for becomes the body.
    """

    def __init__(self, into: Logs, level: int = logging.NOTSET) -> None:
        if not isinstance(into, Logs):
            raise InputInvalid(f"into: wanted a Recorder or a Span, found {into!r:.60}")
        super().__init__(level)
        self._into = into

    def emit(self, record: logging.LogRecord) -> None:
        """Record one message; one of our own would come back for ever."""
        try:
            if str(record.name).partition(".")[0] != _OWN_LOGGER:
                self._record(record)
        except Exception:  # somebody made it with what none of `logging` has: a level of text, no exception
            self._into.funnel.drop("invalid")

    def _record(self, record: logging.LogRecord) -> None:
        msg: object = record.msg
        with suppress(Exception):  # arguments that do not fit its format
            msg = record.getMessage()
        attributes = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        attributes |= {"logger": record.name, "code.file.path": record.pathname, "code.line.number": record.lineno}
        body = record.stack_info or ""
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            attributes["error.type"] = type(error).__qualname__
            body = "".join(traceback.format_exception(error)) + body
        level = next((level for least, level in _LEVELS if record.levelno >= least), _LEVELS[-1][1])
        self._into.log_with(attributes, msg, level, body or None)
