"""Records as they leave a store, as NDJSON or Parquet, while it goes on.

::

    export   which records, their bodies, in which form: an iterator of bytes, and a report
    line     one stored record as one journal line
"""
