"""The command line: one module per command, loaded when it is called.

Results go to stdout, everything else to stderr. A terminal gets tables and progress; a pipe gets
plain text, and with ``--json`` one JSON document, or one JSON object per line from what does not
end. A failure is one line on stderr, with ``--json`` one JSON object, and an exit code of its own:
see `failures`. Environment variables are read here and nowhere else.
"""

from tracestore.cli.group import CommandGroup

__all__ = ["main"]

_EPILOG = """\b
Exit codes:
  0    done
  1    verify found damage, repair left some, an import left something out, or the unexpected
  2    bad usage, value or SQL; prune without a rule
  3    no store at the path, or a damaged one
  4    another process holds the store, and does not answer for it
  5    no such turn, record, span or body, or the body is gone
  6    disk or database unavailable
  7    prune refused, because what would go does not add up
  130  interrupted

\b
Environment:
  TRACESTORE_DIR             the store, where --store is not given
  TRACESTORE_MAX_AGE         --max-age of collect and prune
  TRACESTORE_MAX_BODY_BYTES  --max-body-bytes of collect and prune
  NO_COLOR                   no colours
"""

main = CommandGroup(
    families={
        "recording": {
            "collect": "Move journal lines into the store, until stopped.",
            "serve": "Collect, take OpenTelemetry, and answer over HTTP.",
            "import": "Bring in what another trace store holds.",
            "demo": "Record, collect and look at an example session.",
        },
        "reading": {
            "view": "Show a turn as a tree, one line per event.",
            "list": "List conversations and their turns, newest first.",
            "show": "Show a record or a span in full.",
            "body": "Write the exact bytes of a body to stdout.",
            "query": "Answer a question in SQL; read-only.",
            "export": "Write records as NDJSON or Parquet.",
            "stats": "Count what is stored, and what it costs.",
        },
        "keeping": {
            "prune": "Delete what is past its age or over the byte cap.",
            "pack": "Compress bodies together: agent traffic to a thirtieth or less.",
            "unpack": "Write packed bodies into gzip files again.",
            "verify": "Check rows, ledger and bodies against one another.",
            "repair": "Mend what verify finds; a dry run unless told.",
            "backup": "Copy the store to another place, while it is in use.",
            "restore": "Make a store again from its backup.",
            "rebuild": "Make the database again from snapshot and journal.",
            "forget": "Erase a turn, a conversation or a body everywhere.",
        },
    },
    name="tracestore",
    help="The flight recorder for LLM applications.\n\nEvery command takes --store DIR and --json.",
    epilog=_EPILOG,
)
"""The `tracestore` command."""
