"""`tracestore stats`: what is stored, and what it costs on disk."""

from pathlib import Path
from typing import Any

import click

from tracestore.cli.options import common_options, open_for_reading
from tracestore.cli.output import print_json, print_text


@click.command("stats", short_help="Count what is stored, and what it costs.")
@common_options
def command(store: Path, as_json: bool) -> None:
    """Count what is stored, and what it costs on disk. Times are UTC.

    With --json, bytes are bytes: body_bytes counts a body each time it was sent, unique_body_bytes
    once, blob_bytes_on_disk whole disk blocks as du does.
    """
    with open_for_reading(store) as opened:
        stats = opened.stats()
    for key in ("oldest", "newest"):
        if stats[key] is not None:
            stats[key] = stats[key].replace(" ", "T") + "Z"
    if as_json:
        print_json(stats)
    else:
        print_text(stats_text(stats))


def stats_text(stats: dict[str, Any]) -> str:
    """Write the figures for people."""
    from tracestore.units import format_size_bytes as size

    lines = {
        "records": f"{stats['records']:,} in {stats['turns']:,} turns of {stats['conversations']:,} conversations",
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
    """Say how much smaller bodies are on disk than they were sent; of those evicted there is no saving."""
    if not stats["blob_bytes_on_disk"] or stats["evicted_bodies"] or stats["lost_bodies"]:
        return ""
    return f", {stats['body_bytes'] / stats['blob_bytes_on_disk']:.1f} times smaller than sent"
