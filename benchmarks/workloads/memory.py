"""Peak memory of draining a backlog much larger than it, in a process of its own."""

from benchmarks.corpora.tool_agent import ToolAgent
from benchmarks.harness import Figure, Options, at_most, in_child

MESSAGE_BYTES = 8_000
LINE_BYTES = 12_000
"""Mean bytes of a line with such messages, about."""


def run(options: Options) -> list[Figure]:
    """Drain 1 GB, at full scale 5 GB; once, for memory is no matter of chance."""
    records = options.pick(1_000_000_000, 5_000_000_000) // LINE_BYTES
    directory = options.directory("memory")
    corpus = ToolAgent(records=records, body_share=1.0, message_bytes=MESSAGE_BYTES)
    journal = corpus.write(directory / "journal.ndjson")
    megabytes = journal.stat().st_size / 1e6
    figures = in_child("collect", journal, directory / "store")
    return [
        Figure("peak memory", "MB", [figures["peak_rss_bytes"] / 1e6], at_most(400), f"{megabytes:,.0f} MB of journal"),
        Figure("speed", "MB/s", [megabytes / figures["wall_s"]]),
    ]
