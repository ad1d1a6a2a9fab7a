"""TraceStore: one directory of records and bodies, and the one public object over it.

::

    store        what it can do
    opening      how it opens and ends, and who is asked where another process holds it
    reading      what can be read of it here
    upkeep       prune, pack, unpack
    write_side   what only a writer has: its own journal, the drain, recovery
"""

from tracestore.store.store import TraceStore

__all__ = ["TraceStore"]
