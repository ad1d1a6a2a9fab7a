"""What maintenance did or found; plain values without imports, so that the package loads fast."""

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneSummary:
    """Exactly what a prune did, or would do in a dry run."""

    records_deleted: int = 0
    """Rows that expired."""
    bodies_deleted: int = 0
    """Bodies whose blob is gone, expired and evicted together."""
    bytes_reclaimed: int = 0
    """Bytes returned to the file system, as `du` counts them: blobs and the database file.

    Below zero where a pack was written anew and the old one still waits.
    """
    bodies_evicted: int = 0
    """Those of the deleted bodies that the byte cap took; their rows stay."""
    bytes_pending: int = 0
    """Bytes of files that were replaced, and stay an hour for a copy that may be running."""
    files_deleted: int = 0
    database_bytes_reclaimed: int = 0
    sweep_postponed: bool = False
    """A backup is running: no body went, the next prune takes what this one would have."""
    dry_run: bool = False

    def __add__(self, other: "PruneSummary") -> "PruneSummary":
        """Return what two prunes did, one after the other."""
        both = {field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        flags = {name: bool(both[name]) for name in ("sweep_postponed", "dry_run")}
        return PruneSummary(**both | flags | {"bytes_pending": other.bytes_pending})


@dataclass(frozen=True, slots=True, kw_only=True)
class PackReport:
    """What packing did."""

    bodies: int = 0
    """Bodies written into packs, those that came from small packs included."""
    raw_bytes: int = 0
    stored_bytes: int = 0
    """Bytes of the packs that were written, as `du` counts them."""
    packs: int = 0
    merged_packs: int = 0
    """Small packs whose bodies moved."""
    skipped: int = 0
    """Bodies that could not be read: they stay where they are, `verify` tells why."""
    is_complete: bool = True
    """False when it was told to stop; the next one goes on."""
    bytes_reclaimed: int = 0
    """Bytes of what was replaced earlier, and is gone now."""
    files_pending: int = 0
    """Files that are replaced, and stay an hour for a copy of the directory that may be running."""
    bytes_pending: int = 0

    def __add__(self, later: "PackReport") -> "PackReport":
        """Return what both did together, where the second went on with what the first had left."""
        summed = ("bodies", "raw_bytes", "stored_bytes", "packs", "merged_packs", "bytes_reclaimed")
        return replace(later, **{name: getattr(self, name) + getattr(later, name) for name in summed})


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetReport:
    """What was erased, and what could not be reached."""

    records: int
    bodies: int
    shared_bodies: int
    """Bodies of the erased records that stay because other records name them."""
    copies: int
    """Files in quarantine that held one of the bodies."""
    segments: int
    """Segments of the store's own journal that are gone."""
    left: tuple[str, ...]
    """Where it still is, or may be, each with the reason."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that verify found.

    kind: ``missing`` (a row names a body whose blob is not there), ``corrupt`` ``flipped``
    ``misplaced`` ``stranger`` ``symlink`` ``unreadable`` (see `blobs.verify`), ``size`` (the blob
    or the row disagrees with the ledger), ``unlisted`` (a row names a body the ledger does not
    know), ``twice`` (the ledger has two rows of one body), ``snapshot`` (a file of the newest
    snapshot is not what it was), and, doing no harm, ``orphan`` (a blob without a ledger row),
    ``returned`` (the ledger has a body as lost, and a blob is there), ``leftover``, ``mode``.
    """

    kind: str
    subject: str
    """The digest, or the path where there is none."""
    detail: str
    harmless: bool = False
    path: str | None = None
    """The file, relative to the directory of bodies, where it is a file that was found."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What verify looked at and what it found."""

    records: int
    bodies: int
    """Ledger rows, those of bodies that are gone included."""
    blobs: int
    with_data: bool
    findings: tuple[Damage, ...]
    subset: str | None = None
    """The part of the bodies that was read, as `--subset` takes it; None is all of them."""
    lost: int = 0
    """Bodies known to be lost for good; they are no findings any more."""

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing is damaged; harmless leftovers do not count."""
        return all(finding.harmless for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Mend:
    """One thing that repair did, or would do.

    action: ``set aside`` (a file went to quarantine), ``put back`` (a body was found and is in its seat
    again), ``correct`` (the ledger, or a row's size, says now what is), ``mark lost`` (the body cannot
    be had; its row stays), ``protect`` (the file is its owner's alone again), ``renew`` (a snapshot).
    """

    action: str
    subject: str
    """The digest, or the path where there is none."""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """What repair did, or would do, and what is not as it should be after it."""

    applied: bool
    mends: tuple[Mend, ...]
    remaining: tuple[Damage, ...] = ()
    """What could not be mended."""
    lost: int = 0
    """Bodies that cannot be had, those that were lost before included."""
    log: str | None = None
    """The file that tells how to undo it, where anything was done."""

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing is damaged any more and nothing is lost for good."""
        return not self.remaining and not self.lost
