"""A store that another process holds, asked through its socket.

DuckDB lets one process open a file while it is written. So the process that collects also answers, on
a Unix socket in the store's directory, and whoever opens the store for reading asks there.

::

    store      what `TraceStore` asks of a store that it does not hold
    reader     lists, spans and single records
    client     one call: HTTP over the socket, answers as they come
    calls      what can be asked, and the types of the answers; the server's side of it is `serve.calls`
    frames     one JSON document a line: items, progress, the result or the error
    values     values of SQL and of records in JSON, exactly
    sockets    a Unix socket at a path of any length
"""
