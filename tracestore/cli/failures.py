"""What every failure looks like: one line on stderr and an exit code, never a traceback.

::

    tracestore: /no/such: wanted a store, found nothing; check the path, ...
    {"error": "StoreNotFound", "message": "/no/such: wanted a store, ...", "exit_code": 3}

The second form, with ``--json``, stands alone. SQL that the database refuses keeps the lines with
which the database points at the place. A reader that closed the pipe (``| head``) has what it
wanted: that is success, in silence.
"""

import errno
import os
import sys
import traceback
from collections.abc import Callable

import click

from tracestore.errors import InputInvalid, StoreUnavailable, TraceStoreError, message_of

UNEXPECTED = TraceStoreError.exit_code
BAD_USAGE = InputInvalid.exit_code
UNAVAILABLE = StoreUnavailable.exit_code
INTERRUPTED = 130
DEBUG = "TRACESTORE_DEBUG"
"""Set it to see the traceback of what was not expected."""


def exit_code_of(run: Callable[[], None], *, as_json: bool) -> int:
    """Run a command; say what went wrong, and return the exit code."""
    try:
        run()
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as finished:
        return finished.exit_code
    except click.exceptions.NoArgsIsHelpError as wanted:
        wanted.show()
        return BAD_USAGE
    except BrokenPipeError:
        _abandon_stdout()
        return 0
    except Exception as error:  # the last line of defence: a person gets a sentence, not a stack
        return _report(*_explained(error), as_json=as_json)
    except KeyboardInterrupt:
        return _report(INTERRUPTED, "Interrupted", "interrupted", as_json=as_json)


def _report(code: int, kind: str, message: str, *, as_json: bool) -> int:
    from tracestore.cli.output import print_error  # a fifth of the time that --help takes, which never fails

    print_error(kind, message, code, as_json=as_json)
    return code


def _explained(error: Exception) -> tuple[int, str, str]:
    """Return exit code, kind and message."""
    kind = type(error).__name__
    if isinstance(error, click.Abort):
        return INTERRUPTED, "Interrupted", "interrupted"
    if isinstance(error, click.UsageError):
        return BAD_USAGE, "UsageError", _usage_text(error)
    if isinstance(error, click.ClickException):
        return BAD_USAGE, kind, error.format_message()
    if isinstance(error, TraceStoreError):
        return error.exit_code, kind, message_of(error)
    if isinstance(error, OSError):
        return UNAVAILABLE, kind, f"{message_of(error)}; {_advice(error)}"
    if isinstance(error, MemoryError):
        return UNEXPECTED, kind, "out of memory; ask for less, or give the process more"
    if os.environ.get(DEBUG):
        traceback.print_exc()
    return UNEXPECTED, kind, f"unexpected {kind}: {error}; please report it, with what {DEBUG}=1 prints"


def _usage_text(error: click.UsageError) -> str:
    hint = f"; see {error.ctx.command_path} --help" if error.ctx is not None else ""
    return error.format_message().rstrip(".") + hint


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space, then try again"
    return "check the path and its permissions, then try again"


def _abandon_stdout() -> None:
    """Leave Python nothing to flush at exit: it would complain about the pipe once more."""
    try:
        fd = sys.stdout.fileno()
    except (OSError, ValueError):
        return  # not a real file: a test's, which cannot break either
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)
