"""Over random damage: repair is idempotent, deletes nothing and never lowers the number of good bodies."""

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from blobs import Digest, codec, layout
from tracestore import StoreBroken, TraceStore
from tracestore.layout import StoreLayout
from tracestore.maintenance.repair import repair_store

BODIES = [f"body {n} ".encode() * (1 + n * 40) for n in range(8)]
DIGESTS = [Digest.of(body) for body in BODIES]
NOW_NS = 1_772_413_967_075_000_000

which = some.integers(0, len(BODIES) - 1)
file_damage = some.one_of(
    some.tuples(some.sampled_from(["delete", "empty", "zeros", "mode", "link", "directory", "copy", "rename"]), which),
    some.tuples(some.just("flip"), which, some.integers(0, 400), some.integers(0, 7)),
    some.tuples(some.just("cut"), which, some.integers(0, 60)),
    some.tuples(some.sampled_from(["swap", "overwrite"]), which, which),
    some.tuples(some.sampled_from(["shard is a file", "shard is a link", "shard is renamed", "quarantined"]), which),
    some.tuples(some.just("stranger"), some.sampled_from(["README", "stage", "packs", "objects/zz", "objects/x"])),
)
LEDGER = {
    "no ledger row": "DELETE FROM raw.bodies WHERE digest = ?",
    "twice": "INSERT INTO raw.bodies SELECT * FROM raw.bodies WHERE digest = ?",
    "twice, once lost": "INSERT INTO raw.bodies SELECT digest, 0, 0, 'lost' FROM raw.bodies WHERE digest = ?",
    "lost": "UPDATE raw.bodies SET state = 'lost' WHERE digest = ?",
    "stored size": "UPDATE raw.bodies SET stored_bytes = stored_bytes + 1 WHERE digest = ?",
    "size": "UPDATE raw.bodies SET size_bytes = 3 WHERE digest = ?",
    "record size": "UPDATE raw.records SET body_size_bytes = 3 WHERE body_digest = ? AND msg < '4'",
}
ledger_damage = some.tuples(some.sampled_from(sorted(LEDGER)), which)


class Patient:
    """A copy of the whole store, to be damaged."""

    def __init__(self, root: Path) -> None:
        self.root, self.blobs = root, root / "blobs"
        self.store = TraceStore(root, create=False, now_ns=lambda: NOW_NS)

    def damage(self, kind: str, *facts: Any) -> None:
        if kind == "stranger":
            with_parent = self.blobs / facts[0]
            if not with_parent.exists():
                with_parent.write_bytes(codec.encode(BODIES[0]))
            return
        digest, path = DIGESTS[facts[0]], self.blobs / layout.blob_path(DIGESTS[facts[0]])
        if kind in LEDGER:
            with self.store._database.writing() as cursor:
                cursor.execute(LEDGER[kind], [bytes(digest)])
        elif path.is_file() and not path.is_symlink():
            self._damage_file(kind, path, facts)

    def _damage_file(self, kind: str, path: Path, facts: tuple[Any, ...]) -> None:
        content = path.read_bytes()
        if kind == "mode":
            path.chmod(0o666)
        elif kind == "copy":
            path.with_name("copy").write_bytes(content)
        elif kind == "quarantined":
            self.store._blobs.quarantine(DIGESTS[facts[0]])
        elif kind == "rename":
            path.rename(path.with_name("renamed"))
        elif kind.startswith("shard"):
            self._damage_shard(kind, path.parent)
        elif kind == "swap":
            other = self.blobs / layout.blob_path(DIGESTS[facts[1]])
            if other.is_file() and not other.is_symlink() and other != path:
                path.rename(path.with_name("held")), other.rename(path), path.with_name("held").rename(other)
        else:
            path.unlink()
            self._replace(kind, path, content, facts)

    def _damage_shard(self, kind: str, shard: Path) -> None:
        if kind == "shard is renamed":
            shard.rename(shard.with_name(f"{shard.name}.old"))
            return
        shard.rename(self.blobs / f"moved-{shard.name}")
        if kind == "shard is a file":
            shard.write_bytes(b"")
        else:
            shard.symlink_to(self.blobs)

    def _replace(self, kind: str, path: Path, content: bytes, facts: tuple[Any, ...]) -> None:
        if kind == "link":
            path.symlink_to(self.blobs / "FORMAT")
        elif kind == "directory":
            path.mkdir()
        elif kind != "delete":
            path.write_bytes(damaged(kind, content, facts))
            path.chmod(0o400)

    def good(self) -> set[Digest]:
        """The bodies that can be read back."""
        found = set()
        for digest, body in zip(DIGESTS, BODIES, strict=True):
            try:
                got = self.store.get_body(digest)
            except StoreBroken:
                continue
            assert got in (None, body), "wrong bytes are never returned"
            if got is not None:
                found.add(digest)
        return found

    def contents(self) -> Counter[bytes]:
        """What is in all files below blobs/, whatever they are called, as often as it is there."""
        files = [Path(top, name) for top, _, names in os.walk(self.blobs) for name in names]
        return Counter(file.read_bytes() for file in files if file.is_file() and not file.is_symlink())

    def records(self) -> list[tuple[Any, ...]]:
        return self.store.sql("SELECT record_id, msg, body_digest FROM records ORDER BY ALL").fetchall()

    def repair(self, apply: bool = True, **options: Any) -> Any:
        parts = self.store._database, self.store._blobs
        return repair_store(StoreLayout(self.root), *parts, apply=apply, now_ns=NOW_NS, **options)


def damaged(kind: str, content: bytes, facts: tuple[Any, ...]) -> bytes:
    if kind == "flip":
        flipped = bytearray(content or b"\0")
        flipped[facts[1] % len(flipped)] ^= 1 << facts[2]
        return bytes(flipped)
    if kind == "overwrite":
        return codec.encode(BODIES[facts[1]])
    return {"empty": b"", "zeros": bytes(len(content)), "cut": content[: facts[-1]]}[kind]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, make) -> Path:
    """A closed store of eight bodies, whose journal is gone."""
    root = tmp_path_factory.mktemp("whole") / "store"
    with TraceStore(root, now_ns=lambda: NOW_NS) as store:
        store.insert_records(make.log(msg=f"{n}", body=body) for n, body in enumerate(BODIES))
        store.insert_records([make.log(msg="5 again", body=BODIES[5])])
        assert store.verify(data=True).is_clean
    shutil.rmtree(root / "journal")
    return root


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    some.lists(some.one_of(file_damage, file_damage, ledger_damage), max_size=7),
    some.sampled_from(["nothing", "nothing", "all", "half"]),
)
def test_repair_never_makes_it_worse_and_a_second_one_does_nothing(whole, damages, donor):
    with tempfile.TemporaryDirectory(prefix="repair-") as home:
        given = {} if donor == "nothing" else {"donor": Path(shutil.copytree(whole / "blobs", Path(home) / "donor"))}
        for digest in DIGESTS[::2] if donor == "half" else ():
            (given["donor"] / layout.blob_path(digest)).unlink()
        patient = Patient(Path(shutil.copytree(whole, Path(home) / "store")))
        with patient.store:
            for damage in damages:
                patient.damage(*damage)
            good, contents, records = patient.good(), patient.contents(), patient.records()

            planned = patient.repair(apply=False, **given)
            assert (patient.good(), patient.contents()) == (good, contents), "a dry run changes nothing"
            done = patient.repair(**given)

            assert [(m.action, m.subject) for m in planned.mends] == [(m.action, m.subject) for m in done.mends]
            assert (planned.lost, planned.remaining) == (done.lost, done.remaining)
            assert patient.good() >= good
            assert not contents - patient.contents(), "a file was deleted"
            assert patient.records() == records
            report = patient.store.verify(data=True)
            assert {finding.kind for finding in report.findings} <= {"leftover"}
            assert report.lost == done.lost == len(DIGESTS) - len(patient.good())
            if donor == "all":
                assert done.is_whole

            again = patient.repair(**given)
            assert (again.mends, again.log, again.lost, again.remaining) == ((), None, done.lost, ())
