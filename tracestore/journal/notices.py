"""What a follower noticed about the files it follows, each with a sentence for people."""

from dataclasses import dataclass
from enum import StrEnum

from tracestore.journal.position import Position


class NoticeKind(StrEnum):
    """What happened to a journal or to one segment of it."""

    WAITING = "waiting"
    """Nothing is at the path yet."""
    NEW_SEGMENT = "new-segment"
    """A file nobody has read from; it is read from its first byte."""
    ROTATED = "rotated"
    """A known segment has another name; reading goes on where it stood."""
    RETURNED = "returned"
    """A segment that had vanished, or a copy of it, is there; reading goes on where it stood."""
    REPLACED = "replaced"
    """Another file took the name of a known segment."""
    REWRITTEN = "rewritten"
    """A file no longer holds what was read from it; it is read from its first byte."""
    TRUNCATED = "truncated"
    """A file was cut below the offset and holds something else, or nothing."""
    LOST_TAIL = "lost-tail"
    """A file still begins as it did, but ends before the offset."""
    VANISHED = "vanished"
    """A segment has no name any more in the followed place."""
    UNREADABLE = "unreadable"
    """One segment of a directory cannot be read; the others are."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One observation, made once. ``is_warning`` when lines may be missing or somebody should look."""

    kind: NoticeKind
    path: str
    segment_id: int | None
    sentence: str
    is_warning: bool = False

    def __str__(self) -> str:
        return self.sentence


def waiting(path: str) -> Notice:
    """Say that nothing is there yet."""
    return Notice(NoticeKind.WAITING, path, None, f"{path} is not there yet; it is read as soon as it appears")


def new_segment(path: str, segment_id: int) -> Notice:
    """Say that a file is read from its first byte."""
    return Notice(NoticeKind.NEW_SEGMENT, path, segment_id, f"{path} is new; it is segment {segment_id}")


def replaced(path: str, segment_id: int) -> Notice:
    """Say that another file stands at a name that was followed."""
    sentence = (
        f"{path} is another file now; it is segment {segment_id} and is read from its beginning. Lines that the file"
        " before it got since it was last read are not collected: if it has another name now, collect it once by that"
        " name, and nothing is stored twice"
    )
    return Notice(NoticeKind.REPLACED, path, segment_id, sentence, is_warning=True)


def rotated(old_path: str, path: str, position: Position) -> Notice:
    """Say that a segment has another name."""
    sentence = f"{old_path} is now {path}; reading goes on at byte {position.offset}"
    return Notice(NoticeKind.ROTATED, path, position.segment_id, sentence)


def returned(path: str, position: Position) -> Notice:
    """Say that content which had been read in part is there again."""
    sentence = f"{path} holds what was read as segment {position.segment_id}; reading goes on at byte {position.offset}"
    return Notice(NoticeKind.RETURNED, path, position.segment_id, sentence)


def cut(path: str, position: Position, size_bytes: int, unread_bytes: int, *, same_head: bool) -> Notice:
    """Say that a file ends before the offset, or no longer holds what stood in front of it."""
    lost = f"; {unread_bytes} bytes of it had not been read" if unread_bytes > 0 else ""
    if size_bytes >= position.offset:
        sentence = f"{path} no longer holds what was read up to byte {position.offset}; it is read from its beginning"
        return Notice(NoticeKind.REWRITTEN, path, position.segment_id, sentence + lost, is_warning=True)
    ends = f"{path} ends at byte {size_bytes} and was read up to byte {position.offset}"
    if same_head:
        sentence = f"{ends}: it lost its tail, and is read from its beginning, which stores nothing twice"
        return Notice(NoticeKind.LOST_TAIL, path, position.segment_id, sentence + lost, is_warning=True)
    sentence = f"{ends}: it was truncated, and is read from its beginning"
    return Notice(NoticeKind.TRUNCATED, path, position.segment_id, sentence + lost, is_warning=bool(lost))


def unlinked(path: str, position: Position, unread_bytes: int) -> Notice:
    """Say that an open segment has no name any more in the journal."""
    rest = "it was read to its end"
    if unread_bytes > 0:
        rest = f"its last {unread_bytes} bytes are read from the open file"
    return Notice(NoticeKind.VANISHED, path, position.segment_id, f"{path} is gone from the journal; {rest}")


def vanished(path: str, position: Position, unread_bytes: int) -> Notice:
    """Say that a segment cannot be read any more."""
    if unread_bytes <= 0:
        sentence = f"{path} is gone; it had been read to its end"
    else:
        sentence = f"{path} is gone; {unread_bytes} bytes behind byte {position.offset} were not read as whole lines"
    return Notice(NoticeKind.VANISHED, path, position.segment_id, sentence, is_warning=unread_bytes > 0)


def unreadable(path: str, reason: str) -> Notice:
    """Say that one segment of a directory is passed over until it can be read."""
    sentence = f"{reason}; the other segments are read, this one is tried again at every poll"
    return Notice(NoticeKind.UNREADABLE, path, None, sentence, is_warning=True)
