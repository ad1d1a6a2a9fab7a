"""What people use today, run for real beside ours on the same journal.

Each module keeps its store in a directory and has the same functions; `plain_files` has the first alone::

    collect(journal, store)             make a store of a journal; each batch is on disk before the next one
    opened(store)                       a context manager: what the others read from
    count_records(reading)
    body_keys(reading)                  of the records with a body, in the order of the journal
    body(reading, key)                  one body
    bodies_of(reading, column, value)   all bodies of a turn_id or a conversation_id, in order of time
    prune(store, cutoff_ms)             delete what is older, and give back what space it can

Batches have the budgets of our own, so that all pay for as many syncs. A module's docstring says what it
promises less than we do.
"""
