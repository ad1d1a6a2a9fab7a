"""A store of three bodies, to be hurt and mended."""

import shutil
from pathlib import Path

from blobs import Digest, layout
from tracestore import TraceStore
from tracestore.layout import StoreLayout
from tracestore.maintenance.repair import repair_store
from tracestore.maintenance.verify import verify_store

ONE, TWO, THREE = "the first body " * 30, "the second body " * 50, "a third"
D1, D2, D3 = (Digest.of(body.encode()) for body in (ONE, TWO, THREE))


class Patient:
    """A store of three bodies, and ways to hurt it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.open()
        self.blobs = root / "blobs"

    def open(self) -> None:
        self.store = TraceStore(self.root, now_ns=lambda: 1_772_413_967_075_000_000)

    def path(self, digest: Digest) -> Path:
        return self.blobs / layout.blob_path(digest)

    def write(self, digest: Digest, content: bytes) -> None:
        self.path(digest).unlink(missing_ok=True)
        self.path(digest).write_bytes(content)
        self.path(digest).chmod(0o400)

    def damage(self, digest: Digest) -> None:
        self.write(digest, bytes(self.path(digest).stat().st_size))

    def change(self, sql: str, *values: object) -> None:
        with self.store._database.writing() as cursor:
            cursor.execute(sql, values)

    def ledger(self) -> dict[Digest, list[tuple[int, int, str]]]:
        rows = self.store.sql("SELECT digest, size_bytes, stored_bytes, state FROM bodies ORDER BY ALL").fetchall()
        found: dict[Digest, list[tuple[int, int, str]]] = {}
        for digest, *rest in rows:
            found.setdefault(Digest.parse(digest), []).append(tuple(rest))
        return found

    def forget_journal(self) -> None:
        """Take away the segments, which hold every body too."""
        assert self.store.verify(data=True).findings == ()
        self.store.close()
        shutil.rmtree(self.root / "journal")
        self.open()

    def repair(self, apply=True, **options):
        store = self.store
        options = {"now_ns": 1_772_413_967_075_000_000} | options
        return repair_store(StoreLayout(self.root), store._database, store._blobs, apply=apply, **options)

    def kinds(self) -> list[str]:
        return sorted(finding.kind for finding in self.verify(data=True).findings)

    def verify(self, data=False):
        parts = self.store._database, self.store._blobs
        return verify_store(*parts, data=data, snapshots=StoreLayout(self.root).snapshots)
