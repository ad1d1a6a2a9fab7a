"""What maintenance did or found; plain values without imports, so that the package loads fast."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneSummary:
    """Exactly what a prune did, or would do in a dry run."""

    records_deleted: int = 0
    """Rows that expired."""
    bodies_deleted: int = 0
    """Bodies whose blob is gone, expired and evicted together."""
    bytes_reclaimed: int = 0
    """Bytes returned to the file system, as `du` counts them: blobs and the database file."""
    bodies_evicted: int = 0
    """Those of the deleted bodies that the byte cap took; their rows stay."""
    files_deleted: int = 0
    database_bytes_reclaimed: int = 0
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that verify found.

    kind: ``missing`` (a row names a body whose blob is not there), ``corrupt`` ``flipped``
    ``misplaced`` ``stranger`` ``symlink`` ``unreadable`` (see `blobs.verify`), ``size`` (the blob
    or the row disagrees with the ledger), ``unlisted`` (a row names a body the ledger does not
    know), ``twice`` (the ledger has two rows of one body), and, doing no harm, ``orphan`` (a blob
    without a ledger row), ``leftover``, ``writable``.
    """

    kind: str
    subject: str
    """The digest, or the path where there is none."""
    detail: str
    harmless: bool = False


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What verify looked at and what it found."""

    records: int
    bodies: int
    blobs: int
    with_data: bool
    findings: tuple[Damage, ...]

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing is damaged; harmless leftovers do not count."""
        return all(finding.harmless for finding in self.findings)
