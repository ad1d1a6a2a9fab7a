"""A virtual environment for each peer, made once and kept; and the running of a peer's script in it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers import Peer

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENTS = ROOT / "benchmarks" / ".venv-peers"
"""About 2 GB when all are there; not part of a run's work, so it stays."""
_MADE = "made.txt"
"""Inside an environment that is complete: what was installed."""
_SILENT = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PHOENIX_TELEMETRY_ENABLED": "false",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class PeerFailed(Exception):
    """A peer cannot be installed or did not do its work; the rest of the run goes on without it."""


def prepared(peer: Peer) -> Path:
    """Return the Python of a peer's environment, which is made if need be; raises PeerFailed."""
    directory = ENVIRONMENTS / peer.name
    python, made = directory / "bin" / "python", directory / _MADE
    if made.exists() and made.read_text() == peer.requirement and python.exists():
        return python
    print(f"peers: installing {peer.requirement}, once", file=sys.stderr)
    shutil.rmtree(directory, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(directory)], f"{peer.name}: making its environment")
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", peer.requirement]
    _run(install, f"{peer.name}: installing {peer.requirement}")
    made.write_text(peer.requirement)
    return python


def in_environment(peer: Peer, python: Path, task: str, what: str | Path, directory: Path) -> dict[str, Any]:
    """Run a task of a peer's script on a directory, which is all that it knows of this machine; returns its figures."""
    print(f"peers: {peer.name} {task}", file=sys.stderr)
    known = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    environment = {**known, **_SILENT, "HOME": str(directory), "PYTHONPATH": str(ROOT)}
    command = [str(python), "-m", f"benchmarks.peers.{peer.name}", task, str(what), str(directory)]
    printed = _run(command, f"{peer.name}: {task}", environment, directory)
    figures: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return figures


def _run(
    command: list[str], what: str, environment: dict[str, str] | None = None, directory: Path | None = None
) -> str:
    finished = subprocess.run(
        command, env=environment, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if finished.returncode:
        said = finished.stderr.strip().splitlines() or ["no word of why"]
        raise PeerFailed(f"{what}: wanted exit code 0, found {finished.returncode}: {said[-1]}")
    return finished.stdout
