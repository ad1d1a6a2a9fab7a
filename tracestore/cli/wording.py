"""Results that more than one command prints, and their sentences."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tracestore.maintenance.summary import PackReport, PruneSummary
from tracestore.units import format_size_bytes

if TYPE_CHECKING:
    pass


def pruned_text(summary: PruneSummary) -> str:
    """Say what a prune did, or would do."""
    verb, gave = ("would delete", "would give") if summary.dry_run else ("deleted", "gave")
    evicted = f" ({summary.bodies_evicted:,} over the cap)" if summary.bodies_evicted else ""
    back = format_size_bytes(max(0, summary.bytes_reclaimed))  # a copy may take more until the old pack goes
    bodies = f"{summary.bodies_deleted:,} bodies{evicted}"
    later = "; bodies wait for the next prune, because a backup is running" if summary.sweep_postponed else ""
    later += f"; {_waiting(summary.bytes_pending)}" if summary.bytes_pending else ""
    return f"{verb} {summary.records_deleted:,} records and {bodies}; {gave} {back} back to the disk{later}"


def packed_text(report: PackReport) -> str:
    """Say what packing did."""
    if not report.bodies and not report.skipped:
        done = "nothing to pack"
    else:
        size = format_size_bytes
        times = f", {report.raw_bytes / report.stored_bytes:.0f} times smaller" if report.stored_bytes else ""
        done = (
            f"packed {report.bodies:,} bodies, {size(report.raw_bytes)} into {size(report.stored_bytes)}{times}"
            f" ({_packs(report.packs)})"
        )
    return "; ".join([done, *_afterwards(report)])


def unpacked_text(report: PackReport) -> str:
    """Say what unpacking did."""
    done = f"wrote {report.bodies:,} bodies into files of their own" if report.bodies else "nothing is packed"
    return "; ".join([done, *_afterwards(report)])


def _afterwards(report: PackReport) -> Iterator[str]:
    if report.skipped:
        yield f"left {report.skipped:,} that could not be read (tracestore verify --data)"
    if report.bytes_reclaimed:
        yield f"gave {format_size_bytes(report.bytes_reclaimed)} back to the disk"
    if report.files_pending:
        yield _waiting(report.bytes_pending, report.files_pending)


def _waiting(size_bytes: int, files: int | None = None) -> str:
    what = "" if files is None else f" in {files:,} replaced files"
    return f"{format_size_bytes(size_bytes)}{what} wait an hour for a running copy (tracestore pack --grace 0: none)"


def stats_text(stats: dict[str, Any]) -> str:
    """Write the figures for people."""
    size = format_size_bytes
    lines = {
        "records": f"{stats['records']:,}; turns {stats['turns']:,}, conversations {stats['conversations']:,}",
        "time": f"{stats['oldest']} to {stats['newest']}" if stats["records"] else "nothing stored yet",
        "bodies sent": f"{stats['bodies']:,}, {size(stats['body_bytes'])}",
        "kept once": f"{stats['unique_bodies']:,}, {size(stats['unique_body_bytes'])}",
        "on disk": f"{size(stats['blob_bytes_on_disk'])} in {stats['blob_files']:,} files{_saving(stats)}",
        "  in files": f"{stats['loose_blobs']:,} bodies, {size(stats['loose_bytes'])}",
        "  in packs": f"{_packs(stats['packs'])}, {size(stats['pack_bytes'])}{_packed(stats)}",
        "database": size(stats["database_bytes"]),
    }
    others = {"evicted": stats["evicted_bodies"], "lost": stats["lost_bodies"], "rejected": stats["rejected"]}
    for tier, count in (("  in files", stats["loose_blobs"]), ("  in packs", stats["packs"])):
        if not count:
            del lines[tier]
    lines |= {name: f"{count:,}" for name, count in others.items() if count}
    return "\n".join(f"{name:<12} {text}" for name, text in lines.items())


def _packs(count: int) -> str:
    return "1 pack" if count == 1 else f"{count:,} packs"


def _packed(stats: dict[str, Any]) -> str:
    """Say what is in the packs, and how much smaller."""
    raw_bytes = stats["packed_raw_bytes"]
    ratio = f", {raw_bytes / stats['pack_bytes']:.0f} times smaller than raw" if stats["pack_bytes"] else ""
    return f" for {stats['packed_bodies']:,} bodies of {format_size_bytes(raw_bytes)}{ratio}"


def _saving(stats: dict[str, Any]) -> str:
    """Say how much smaller bodies are on disk than they were sent; what was evicted is no saving."""
    if not stats["bodies"] or stats["evicted_bodies"] or stats["lost_bodies"]:
        return ""
    ratio = stats["body_bytes"] / stats["blob_bytes_on_disk"]
    return f", {ratio:.1f} times smaller than sent" if ratio > 1 else ", because small files take whole disk blocks"
