"""Damaged files of bodies: verify finds each one, accuses no other, and reading never returns wrong bytes.

A round damages half of a store's blobs, each in one way, runs one `verify --data`, reads every body
and puts the files back. Packs have rounds of their own (`pack_flips`).
"""

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from blobs import Digest, layout
from tests.faults import pack_flips
from tests.faults.damages import DAMAGES, body
from tests.faults.report import Report
from tracestore import StoreBroken, TraceStore

SIZES = (0, 1, 7, 40, 300, 900, 3_000, 3_000, 6_000, 20_000)
LARGE_BYTES = 300_000
BLOBS = 300
PACKED_SHARE = 0.05


def run(count: int, seed: int) -> Report:
    """Do at least so many damages: some to packs, all others to blobs in files of their own."""
    rng = random.Random(f"flips {seed}")
    report = Report("flips", seed)
    with tempfile.TemporaryDirectory(prefix="flips-") as home, Damaged(Path(home) / "store", rng) as damaged:
        pack_flips.run(int(count * PACKED_SHARE), rng, Path(home), report)
        while report.tries < count and not report.violations:
            report.tries += damaged.damage_half()
            report.violations += [f"round {report.notes['rounds of verify']}: {found}" for found in damaged.examine()]
            damaged.put_back()
            report.notes["rounds of verify"] += 1
        report.violations += [f"after all rounds: {finding}" for finding in damaged.store.verify(data=True).findings]
    return report


class Damaged:
    """A store of known bodies, and what was done to its files since they were last put back."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.store = TraceStore(path)
        self.rng = rng
        bodies = {*(body(rng, rng.choice(SIZES)) for _ in range(BLOBS - 1)), body(rng, LARGE_BYTES)}
        self.bodies = {Digest.of(content): content for content in bodies}
        self.store.insert_records(
            {"kind": "log", "timestamp": 1, "extensionId": "app", "level": "info", "msg": f"{digest}", "body": content}
            for digest, content in self.bodies.items()
        )
        self.store.unpack(grace_ms=0)
        assert self.store.verify(data=True).is_clean  # the first look makes rows and blobs of what was inserted
        self.paths = {digest: path / "blobs" / layout.blob_path(digest) for digest in self.bodies}
        self.whole = {digest: blob.read_bytes() for digest, blob in self.paths.items()}
        self.mode = next(iter(self.paths.values())).stat().st_mode & 0o777
        self.done: dict[str, str] = {}
        """What verify has to name: hex digest or path, to what was done there."""
        self._touched: set[Digest] = set()
        self._extra: set[Path] = set()

    def __enter__(self) -> "Damaged":
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def damage_half(self) -> int:
        """Damage half of the blobs; returns how many things verify has to find."""
        victims = self.rng.sample(sorted(self.bodies), len(self.bodies) // 2)
        while len(victims) >= 2:
            self._damage(victims.pop(), victims)
        return len(self.done)

    def examine(self) -> Iterator[str]:
        """Yield every damage that verify does not name, everything else it names, and every wrong body."""
        accused = {finding.subject: finding for finding in self.store.verify(data=True).findings}
        for name, done in self.done.items():
            if not any(name in subject and not finding.harmless for subject, finding in accused.items()):
                yield f"not found: {done} at {name}"
        for subject, finding in accused.items():
            if not any(name in subject for name in self.done):
                yield f"accused without a reason: {finding}"
        for digest, content in self.bodies.items():
            try:
                found = self.store.get_body(digest)
            except StoreBroken:
                found = None
            if found is None and digest.hex() not in self.done:
                yield f"a whole body cannot be read: {digest}"
            if found is not None and found != content:
                yield f"wrong bytes for {digest} after {self.done.get(digest.hex())}"

    def put_back(self) -> None:
        """Make every file what it was."""
        for path in self._extra:
            path.unlink()
        for digest in self._touched:
            remove(self.paths[digest])
            self._write(self.paths[digest], self.whole[digest])
        self._touched.clear()
        self._extra.clear()
        self.done.clear()

    def _damage(self, victim: Digest, others: list[Digest]) -> None:
        kind = self.rng.choice([*DAMAGES, *DAMAGES, "swap", "missing", "other blob", "directory", "link", "extra"])
        path, whole = self.paths[victim], self.whole[victim]
        self._touched.add(victim)
        if kind in DAMAGES:
            damaged = DAMAGES[kind](self.rng, whole)
            if damaged == whole:
                return
            remove(path)
            self._write(path, damaged)
        elif kind == "extra":
            self._add_a_file(path, whole)
            return
        elif kind == "swap":
            other = others.pop()
            self._touched.add(other)
            aside = path.with_name("aside")
            path.rename(aside), self.paths[other].rename(path), aside.rename(self.paths[other])
            self.done[other.hex()] = kind
        else:
            remove(path)
            if kind == "other blob":
                self._write(path, self.whole[self.rng.choice([other for other in self.bodies if other != victim])])
            elif kind == "directory":
                path.mkdir()
            elif kind == "link":
                path.symlink_to(self.paths[self.rng.choice(others)])
        self.done[victim.hex()] = kind

    def _add_a_file(self, path: Path, whole: bytes) -> None:
        """Add a file where none belongs; the blob beside it stays as it is."""
        name = self.rng.choice([path.name + ".bak", path.name.removesuffix(".gz"), "." + path.name, path.name.upper()])
        extra = path.with_name(name)
        self._write(extra, self.rng.choice([whole, b""]))
        self._extra.add(extra)
        self.done[name] = "an extra file"

    def _write(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        path.chmod(self.mode)


def remove(path: Path) -> None:
    """Remove whatever stands at a path."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
