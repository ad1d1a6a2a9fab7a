"""Copying by rsync, to and from a directory here or, as ``host:path``, on another machine.

What rsync says on stderr is what an error says; a file that vanished while it was copied is none.
Only files and directories are copied, never a link or a device. Names that begin with a dot are
what rsync itself leaves behind when it is killed, so they are passed over.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tracestore.errors import InputInvalid, StoreUnavailable

Progress = Callable[[int, int], None]
"""Takes files looked at and files there are."""

STALLED_S = 600
"""A connection on which nothing moves for so long is given up; it would hold up every sweep."""

_OPTIONS = ("--recursive", "--perms", "--times", "--owner", "--group", "--protect-args", "--exclude=.*")
_COUNTED = ("--no-inc-recursive", "--no-human-readable", "--info=progress2,stats2")
_VANISHED = 24
_NOT_FOUND = re.compile(r"No such file or directory|chdir failed")
_TO_CHECK = re.compile(rb"to-chk=(\d+)/(\d+)")
_FILES = re.compile(rb"Number of regular files transferred: (\d+)")
_BYTES = re.compile(rb"Total transferred file size: (\d+)")


@dataclass(frozen=True, slots=True)
class Place:
    """A directory that rsync can reach."""

    text: str
    """As rsync takes it, without a slash at the end."""
    is_local: bool

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read ``path``, ``host:path`` or ``user@host:path``; a colon behind the first slash is none of a host."""
        host, colon, _ = text.partition(":")
        if colon and host and "/" not in host:
            if host.startswith("-"):
                raise InputInvalid(f"wanted a path or host:path, found {text!r}; a host does not begin with a dash")
            return cls(text.rstrip("/") or text, is_local=False)
        if not text:
            raise InputInvalid("wanted a path or host:path, found nothing")
        return cls.local(text)

    @classmethod
    def local(cls, path: str | Path) -> "Place":
        """Name a directory of this machine, whatever its name looks like."""
        return cls(os.path.realpath(path), is_local=True)

    def __truediv__(self, name: str) -> "Place":
        return Place(f"{self.text.rstrip('/')}/{name}", self.is_local)

    def __str__(self) -> str:
        return self.text

    @property
    def inside(self) -> str:
        """What is in the directory, as rsync takes it."""
        return f"{self.text.rstrip('/')}/"

    @property
    def absolute(self) -> str | None:
        """The path where it lies, without the host; None of one that begins in somebody's home."""
        path = self.text if self.is_local else self.text.partition(":")[2]
        return path if path.startswith("/") else None

    @property
    def path(self) -> Path:
        """The directory, of a local one."""
        return Path(self.text)


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy transferred; what was there already does not count."""

    files: int = 0
    size_bytes: int = 0

    def __add__(self, other: "Copied") -> "Copied":
        return Copied(self.files + other.files, self.size_bytes + other.size_bytes)


class Rsync:
    """Runs rsync; its processes inherit some descriptors, and with them the locks that those hold."""

    def __init__(self, keeping: Collection[int] = ()) -> None:
        self._keeping = tuple(keeping)

    def copy(self, source: Place, target: Place, *options: str, on_progress: Progress | None = None) -> Copied:
        """Copy what is in a directory into another one, which is made where only its parent is there."""
        arguments = [*_COUNTED, *_OPTIONS, *options, "--", source.inside, target.inside]
        output = self._run(arguments, f"cannot copy {source} to {target}", on_progress)
        files, size_bytes = _FILES.search(output), _BYTES.search(output)
        return Copied(int(files[1]) if files else 0, int(size_bytes[1]) if size_bytes else 0)

    def remove(self, target: Place, *options: str) -> None:
        """Remove of a directory what the options, filters of rsync, include."""
        with tempfile.TemporaryDirectory(prefix="tracestore-") as empty:
            arguments = ["--recursive", "--protect-args", "--delete", *options, "--exclude=*"]
            self._run([*arguments, "--", f"{empty}/", target.inside], f"cannot remove what is over in {target}")

    def names(self, place: Place) -> list[str] | None:
        """Return the names in a directory; None where there is none."""
        if place.is_local:
            with suppress(FileNotFoundError):
                return sorted(os.listdir(place.path))
            return None
        try:
            output = self._run(["--list-only", "--protect-args", "--", place.inside], f"cannot look into {place}")
        except StoreUnavailable as error:
            if _NOT_FOUND.search(str(error)):
                return None
            raise
        lines = output.decode(errors="surrogateescape").splitlines()
        return sorted(name for line in lines if (name := line.split(None, 4)[-1]) != ".")

    def read(self, place: Place, name: str) -> bytes | None:
        """Return a small file's content; None where there is none."""
        with tempfile.TemporaryDirectory(prefix="tracestore-") as scratch:
            self.copy(place, Place.local(scratch), f"--include=/{name}", "--exclude=*")
            with suppress(FileNotFoundError):
                return Path(scratch, name).read_bytes()
        return None

    def write(self, place: Place, name: str, content: bytes) -> None:
        """Put a small file into a directory, by one rename."""
        with tempfile.TemporaryDirectory(prefix="tracestore-") as scratch:
            Path(scratch, name).write_bytes(content)
            # Its mode and owner are the scratch directory's business, and those of `place` stay as they are.
            arguments = ["--recursive", "--ignore-times", "--protect-args", "--chmod=F600", "--omit-dir-times"]
            self._run([*arguments, "--", f"{scratch}/{name}", place.inside], f"cannot write {name} into {place}")

    def _run(self, arguments: Sequence[str], doing: str, on_progress: Progress | None = None) -> bytes:
        """Run to the end and return what it printed last; StoreUnavailable says what it complained of."""
        command = ["rsync", f"--timeout={STALLED_S}", *arguments]
        environment = os.environ | {"LC_ALL": "C"}
        with tempfile.TemporaryFile() as complaints:
            try:
                process = subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=complaints, env=environment, pass_fds=self._keeping
                )
            except FileNotFoundError as error:
                raise StoreUnavailable("wanted the program rsync, found none; install it, then try again") from error
            with process:
                try:
                    assert process.stdout is not None
                    output = _follow(process.stdout, on_progress)
                    code = process.wait()
                except BaseException:
                    process.terminate()  # it removes what it has half written
                    raise
            if code not in (0, _VANISHED):
                raise StoreUnavailable(f"{doing}: rsync ended with {code}: {_complaint(complaints)}")
        return output


def _follow(stream: IO[bytes], on_progress: Progress | None) -> bytes:
    """Read to the end, telling how far it is; return what follows the last sign of progress."""
    output = b""
    while piece := os.read(stream.fileno(), 65536):
        output += piece
        if on_progress is None:
            continue
        *_, last = [None, *_TO_CHECK.finditer(output)]
        if last is not None:
            on_progress(int(last[2]) - int(last[1]), int(last[2]))
            output = output[last.end() :]
    return output


def _complaint(complaints: IO[bytes]) -> str:
    """Return what rsync said, the first of it; its last line only sums up."""
    complaints.seek(0)
    lines = [line.strip() for line in complaints.read(64 * 1024).decode(errors="replace").splitlines() if line.strip()]
    causes = [line for line in lines if not line.startswith("rsync error:")] or lines
    return "; ".join(causes[:2])[:500] or "it said nothing"
