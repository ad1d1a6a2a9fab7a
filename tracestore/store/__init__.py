"""TraceStore: one directory of records and bodies, and the one public object over it.

::

    store        what it can do
    opening      how it opens and ends
    write_side   what only a writer has: its own journal, the drain, recovery
"""

from tracestore.store.store import TraceStore

__all__ = ["TraceStore"]
