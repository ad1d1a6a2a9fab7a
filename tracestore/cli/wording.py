"""Results that more than one command prints, and their sentences."""

from typing import TYPE_CHECKING, Any

from tracestore.maintenance.summary import PruneSummary
from tracestore.units import format_size_bytes

if TYPE_CHECKING:
    from tracestore.store import TraceStore


def pruned_text(summary: PruneSummary) -> str:
    """Say what a prune did, or would do."""
    verb, gave = ("would delete", "would give") if summary.dry_run else ("deleted", "gave")
    evicted = f" ({summary.bodies_evicted:,} over the cap)" if summary.bodies_evicted else ""
    back = format_size_bytes(summary.bytes_reclaimed)
    bodies = f"{summary.bodies_deleted:,} bodies{evicted}"
    later = "; bodies wait for the next prune, because a backup is running" if summary.sweep_postponed else ""
    return f"{verb} {summary.records_deleted:,} records and {bodies}; {gave} {back} back to the disk{later}"


def stats_of(store: "TraceStore") -> dict[str, Any]:
    """Return the figures of a store, their times as ISO 8601."""
    stats = store.stats()
    times = {key: stats[key].replace(" ", "T") + "Z" for key in ("oldest", "newest") if stats[key] is not None}
    return stats | times


def stats_text(stats: dict[str, Any]) -> str:
    """Write the figures for people."""
    size = format_size_bytes
    lines = {
        "records": f"{stats['records']:,}; turns {stats['turns']:,}, conversations {stats['conversations']:,}",
        "time": f"{stats['oldest']} to {stats['newest']}" if stats["records"] else "nothing stored yet",
        "bodies sent": f"{stats['bodies']:,}, {size(stats['body_bytes'])}",
        "kept once": f"{stats['unique_bodies']:,}, {size(stats['unique_body_bytes'])}",
        "on disk": f"{size(stats['blob_bytes_on_disk'])} in {stats['blob_files']:,} files{_saving(stats)}",
        "database": size(stats["database_bytes"]),
    }
    others = {"evicted": stats["evicted_bodies"], "lost": stats["lost_bodies"], "rejected": stats["rejected"]}
    lines |= {name: f"{count:,}" for name, count in others.items() if count}
    return "\n".join(f"{name:<12} {text}" for name, text in lines.items())


def _saving(stats: dict[str, Any]) -> str:
    """Say how much smaller bodies are on disk than they were sent; what was evicted is no saving."""
    if not stats["bodies"] or stats["evicted_bodies"] or stats["lost_bodies"]:
        return ""
    ratio = stats["body_bytes"] / stats["blob_bytes_on_disk"]
    return f", {ratio:.1f} times smaller than sent" if ratio > 1 else ", because small files take whole disk blocks"
