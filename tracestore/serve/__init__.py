"""The process that collects also answers: on the store's own socket always, over TCP where that is asked for.

::

    server      sockets, threads, start and end
    app         which endpoints there are on which of the two
    calls       what programs of the store's owner ask through the socket (`tracestore.remote`)
    guard       who may talk over TCP
    limits      how much at once
    sql         POST /v1/sql
    records     turns, records, the easy view, counts
    bodies      exact bytes, whole or a range
    export      records as a file
    receiver    OpenTelemetry in; `appending` makes it durable, `refs` reads files that it names
    health      is it alive, is it ready; `prometheus` for machines
    failures    what errors look like
"""
