"""Damaged blob files: verify finds each one, accuses no other, and reading never returns wrong bytes.

A round damages half of a store's blobs, each in one way, runs one `verify --data`, reads every body
and puts the files back. What a disk, a copy gone wrong or a person does to files is in `DAMAGES`.
"""

import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from blobs import Digest, layout
from tests.faults.report import Report
from tracestore import StoreBroken, TraceStore

SIZES = (0, 1, 7, 40, 300, 900, 3_000, 3_000, 6_000, 20_000)
LARGE_BYTES = 300_000
BLOBS = 300


def run(count: int, seed: int) -> Report:
    """Do at least so many damages."""
    rng = random.Random(f"flips {seed}")
    report = Report("flips", seed)
    with tempfile.TemporaryDirectory(prefix="flips-") as home, Damaged(Path(home) / "store", rng) as damaged:
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


def body(rng: random.Random, size_bytes: int) -> bytes:
    """Return random text, so that the compressed form is of that order of size, or text that repeats itself."""
    text = rng.randbytes(size_bytes // 2 + 1).hex().encode()[:size_bytes]
    return rng.choice([text, text, (text[:50] * size_bytes)[:size_bytes]])


def remove(path: Path) -> None:
    """Remove whatever stands at a path."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def flip_a_bit(rng: random.Random, whole: bytes) -> bytes:
    return flip_bits(rng, whole, 1)


def flip_bits(rng: random.Random, whole: bytes, bits: int = 0) -> bytes:
    damaged = bytearray(whole)
    for bit in rng.sample(range(8 * len(whole)), bits or rng.randrange(2, 30)):
        damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def truncate(rng: random.Random, whole: bytes) -> bytes:
    return whole[: rng.choice([0, 1, len(whole) // 2, len(whole) - 1, rng.randrange(len(whole))])]


def zero_the_tail(rng: random.Random, whole: bytes) -> bytes:
    kept = rng.choice([0, len(whole) // 4096 * 4096, rng.randrange(len(whole))])
    return whole[:kept] + bytes(len(whole) - kept)


def zero_a_range(rng: random.Random, whole: bytes) -> bytes:
    start, end = sorted((rng.randrange(len(whole)), rng.randrange(len(whole) + 1)))
    return whole[:start] + bytes(end - start) + whole[end:]


def append(rng: random.Random, whole: bytes) -> bytes:
    return whole + rng.choice([b"\0", b"\0" * 4096, rng.randbytes(9), whole])


def lose_a_range(rng: random.Random, whole: bytes) -> bytes:
    start, end = sorted((rng.randrange(len(whole)), rng.randrange(len(whole) + 1)))
    return whole[:start] + whole[end:]


DAMAGES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "a flipped bit": flip_a_bit,
    "flipped bits": flip_bits,
    "a truncation": truncate,
    "a zeroed tail": zero_the_tail,
    "a zeroed range": zero_a_range,
    "bytes behind it": append,
    "a lost range": lose_a_range,
}
