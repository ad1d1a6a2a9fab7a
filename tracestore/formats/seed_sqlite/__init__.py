"""Databases of the SQLite trace store, read as journal records.

Two layouts are in use, both recognised by their columns, not by a version number:

=========  ==============================================================================
records    ``id kind level msg name spanId parentSpanId conversationId turnId extensionId
           timestamp durationMs status attributes links``; the last two are JSON text
older      ``bodies(recordId, body)``: text by record
newer      ``records.bodyHash`` and ``bodies(hash, body, isCompressed, originalSize,
           storedSize)``: each text once, as bytes, gzip where the flag says so
=========  ==============================================================================

An upgrade that broke off leaves both (``bodies_old``); then both are read. Table names do not
matter, nor do case and underscores of columns (``span_id``), nor the near names that `shape` lists
(``ts``, ``digest``, ``content``, ``encoding``). Without a flag the first two bytes tell, because
UTF-8 text cannot start as gzip does. Any other shape is refused with what was found.

Rows come in order of insertion, read in one read-only transaction with one body in memory at a
time; the application may go on writing meanwhile. Nothing is judged here: a row that is no
record (unknown kind, missing field, attributes that are not JSON) comes as it is, for the
journal to set aside with a reason. ``id`` and ``bodyHash`` stay behind, so that a record has the
same identity from here and from its journal; columns nobody knows travel under their own name.
A body that is missing or does not unpack is said in the record, as ``seedBodyProblem``.
"""

from tracestore.formats.seed_sqlite.reader import read_seed_records

__all__ = ["read_seed_records"]
