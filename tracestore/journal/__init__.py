"""The journal: the durable queue between an application and the collector.

Constraints. Any program in any language can append to it with one write call; a reader needs no
index; a crash of either side at any instant costs nothing that was synced. The journal knows bytes,
lines, files and offsets. It does not know what a record is.

Layout. A segment is one file of newline-delimited JSON, append-only. A line is one record, ends
with ``\\n`` and has at most 32 MiB. A journal is a directory of segments (``*.ndjson``, ``*.jsonl``,
rotated ones too) or one file with its rotated siblings ``PATH.1``, ``PATH.2`` ...

Write. Whole lines, one write call, O_APPEND; fsync is the acknowledgement. Our own writer
(`SegmentWriter`) creates each segment exclusively as ``<utc ms>-<pid>-<count>.ndjson``, mode 0600,
syncs the directory, and starts the next one at 64 MiB. A foreign writer may rotate by renaming.

Read. ``JournalFollower.poll`` offers segments with unread bytes, the oldest first;
``Segment.read_chunk`` returns whole lines, bounded in bytes and lines; ``Segment.advance`` proves
that the file still holds what was read and returns the `Position` behind it. A torn last line waits
for its newline. Blank lines are passed over. Lines that are no records go to ``rejected.ndjson``.

Commit. `Segment.sync` and `RejectedLines.sync` first, else the offset outlives the journal's tail in a
power cut; then the rows, the position and the length of the rejected lines in one transaction; then
``JournalFollower.commit``.

Recover. A position carries fingerprints of the first 4096 and the last 256 bytes read, so a segment
is found again under any name and inode, and reading never resumes inside a record. Content whose
fingerprints do not match is read from its first byte. So every line is read at least once, and
exactly once while a journal is only appended to, renamed and rotated; inserts are idempotent.

Rotation. A file that is renamed, or unlinked, while it is followed is read to its end through its
open handle. Lines in a file that appears and disappears between two polls were never seen.

Non-goals. This is not Kafka: no topics, no consumer groups, no replication, no index, no checksums
per line. A segment goes as a whole (`remove_segments`), once a snapshot covers it.
"""
