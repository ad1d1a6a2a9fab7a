"""Following one file: how it grows, shrinks, goes away and comes back. How it rotates: `test_follow_rotation`."""

import dataclasses
import os
import shutil

import pytest

from tests.journal.conftest import numbered
from tracestore.errors import InputInvalid, StoreUnavailable
from tracestore.journal.follow import JournalFollower
from tracestore.journal.notices import NoticeKind
from tracestore.journal.position import Position
from tracestore.journal.segment import SegmentChanged


def test_truncation_to_nothing_is_said_and_read_from_the_beginning(journal, collect, append):
    """Seed defect `journal`: truncation below the offset lost lines and resumed mid-record."""
    append(journal, *numbered(0, 10))
    collector = collect(journal)
    collector.drain()
    collector.told()
    os.truncate(journal, 0)
    assert collector.drain() == []
    assert collector.told()[0] == NoticeKind.TRUNCATED
    append(journal, b"after")
    assert collector.drain() == [b"after"]


@pytest.mark.parametrize("new_lines", [3, 10, 30])
@pytest.mark.parametrize("restart", [False, True])
def test_a_file_rewritten_in_place_is_read_from_the_beginning(journal, collect, append, new_lines, restart):
    append(journal, *numbered(0, 10))
    collector = collect(journal)
    collector.drain()
    os.truncate(journal, 0)
    append(journal, *numbered(500, 500 + new_lines))
    if restart:
        collector.restart()
    assert collector.drain() == numbered(500, 500 + new_lines)


@pytest.mark.parametrize("restart", [False, True])
def test_a_file_replaced_by_another_is_read_from_its_beginning(journal, collect, append, restart):
    append(journal, *numbered(0, 10))
    collector = collect(journal)
    collector.drain()
    append(journal.with_name("other"), *numbered(50, 70))
    os.replace(journal.with_name("other"), journal)
    if restart:
        collector.restart()
    assert collector.drain() == numbered(50, 70)
    assert NoticeKind.REPLACED in collector.told()


@pytest.mark.parametrize("restart", [False, True])
def test_a_replaced_file_of_the_same_inode_is_not_mistaken_for_the_old_one(journal, collect, append, restart):
    """The inode of an unlinked file is given to the next one: only the content tells them apart."""
    append(journal, *numbered(0, 10))
    collector = collect(journal, max_open=1)
    collector.drain()
    append(journal.with_name("other"), *numbered(50, 70))
    os.replace(journal.with_name("other"), journal)
    collector.stored[1] = dataclasses.replace(collector.stored[1], inode=journal.stat().st_ino)
    if restart:
        collector.restart()
    assert collector.drain() == numbered(50, 70)


def test_a_renamed_file_goes_on_where_it_stood(journal, tmp_path, collect, append):
    append(journal, b"one")
    collector = collect(tmp_path)
    collector.drain()
    os.rename(journal, tmp_path / "kept.ndjson.5")
    append(tmp_path / "kept.ndjson.5", b"two")
    assert collector.drain() == [b"two"]
    assert collector.told() == [NoticeKind.NEW_SEGMENT, NoticeKind.ROTATED]
    assert collector.stored[1].path.endswith("kept.ndjson.5")


@pytest.mark.parametrize("restart", [False, True])
def test_a_file_that_vanished_and_is_back_goes_on_where_it_stood(journal, tmp_path, collect, append, restart):
    append(journal, b"one")
    collector = collect(journal)
    collector.drain()
    os.rename(journal, tmp_path / "elsewhere")
    collector.drain()
    assert collector.told()[-2:] == [NoticeKind.WAITING, NoticeKind.VANISHED]
    if restart:
        collector.restart()
        collector.drain()
    shutil.copyfile(tmp_path / "elsewhere", journal)
    append(journal, b"two")
    assert collector.drain() == [b"two"]
    assert NoticeKind.RETURNED in collector.told()


@pytest.mark.parametrize("restart", [False, True])
def test_a_lost_tail_is_said_and_what_is_appended_later_is_read(journal, collect, append, restart):
    lines = numbered(0, 300)
    append(journal, *lines)
    collector = collect(journal)
    collector.drain()
    kept = sum(len(line) + 1 for line in lines[:200])
    os.truncate(journal, kept)
    append(journal, b"after")
    if restart:
        collector.restart()
    assert collector.drain()[-1] == b"after"
    assert NoticeKind.LOST_TAIL in collector.told()


@pytest.mark.parametrize("restart", [False, True])
def test_a_lost_tail_that_grew_past_the_offset_is_recognised(journal, collect, append, restart):
    lines = numbered(0, 300)
    append(journal, *lines)
    collector = collect(journal)
    collector.drain()
    os.truncate(journal, sum(len(line) + 1 for line in lines[:200]))
    append(journal, *numbered(1_000, 1_200))
    if restart:
        collector.restart()
    assert set(collector.drain()) >= set(numbered(1_000, 1_200))
    assert NoticeKind.REWRITTEN in collector.told()


def test_a_journal_that_is_not_there_is_said_once(tmp_path, collect, append):
    journal = tmp_path / "later" / "app.ndjson"
    collector = collect(journal)
    collector.drain()
    collector.drain()
    assert collector.told() == [NoticeKind.WAITING]
    journal.parent.mkdir()
    append(journal, b"one")
    assert collector.drain() == [b"one"]


@pytest.mark.parametrize("restart", [False, True])
def test_the_path_may_be_a_symbolic_link(tmp_path, journal, collect, append, restart):
    (tmp_path / "real").mkdir()
    append(tmp_path / "real" / "x.log", b"one")
    journal.symlink_to(tmp_path / "real" / "x.log")
    collector = collect(journal)
    assert collector.drain() == [b"one"]
    os.rename(tmp_path / "real" / "x.log", tmp_path / "real" / "x.log.1")
    append(tmp_path / "real" / "x.log.1", b"two")
    append(tmp_path / "real" / "x.log", b"three")
    if restart:
        collector.restart()
    assert collector.drain() == [b"two", b"three"]


def test_a_torn_line_waits_for_its_newline(journal, collect):
    """Seed defect `journal`: a half-written line is neither parsed nor skipped."""
    journal.write_bytes(b"one\ntw")
    collector = collect(journal)
    assert collector.drain() == [b"one"]
    assert collector.drain() == []
    with journal.open("ab") as file:
        file.write(b"o\n")
    assert collector.drain() == [b"two"]


def test_a_torn_line_of_a_quiet_file_is_offered_no_more(journal):
    journal.write_bytes(b"one\ntw")
    os.utime(journal, ns=(0, 0))
    follower = JournalFollower(str(journal))
    unread = follower.poll().unread[0]
    follower.commit(unread.segment.advance(unread.position, unread.segment.read_chunk(0)))
    again = follower.poll().unread
    assert len(again) == 1
    assert again[0].segment.read_chunk(again[0].position.offset).torn_bytes == 2
    assert follower.poll().unread == []
    with journal.open("ab") as file:
        file.write(b"o\n")
    assert len(follower.poll().unread) == 1
    follower.close()


def test_what_was_not_committed_is_offered_again(journal, append):
    append(journal, b"one")
    follower = JournalFollower(str(journal))
    unread = follower.poll().unread[0]
    unread.segment.read_chunk(0)
    assert follower.poll().unread[0].position == unread.position
    follower.close()


def test_a_file_that_changes_during_a_read_commits_nothing(journal, append):
    """Truncated and rewritten between poll and advance: the chunk may begin inside a record."""
    append(journal, *numbered(0, 10))
    follower = JournalFollower(str(journal))
    unread = follower.poll().unread[0]
    position = unread.segment.advance(unread.position, unread.segment.read_chunk(0))
    follower.commit(position)
    append(journal, *numbered(10, 20))
    unread = follower.poll().unread[0]
    os.truncate(journal, 0)
    append(journal, *numbered(700, 730))
    chunk = unread.segment.read_chunk(unread.position.offset)
    with pytest.raises(SegmentChanged, match="poll again"):
        unread.segment.advance(unread.position, chunk)
    fresh = follower.poll().unread[0]
    assert fresh.position.offset == 0
    assert [line.data for line in fresh.segment.read_chunk(0).lines] == numbered(700, 730)
    follower.close()


@pytest.mark.parametrize("changed", [slice(0, 10), slice(90, 100)], ids=["first lines", "last lines"])
def test_a_first_chunk_that_changes_during_the_read_commits_nothing(journal, append, changed):
    lines = numbered(100, 200)
    append(journal, *lines)
    follower = JournalFollower(str(journal))
    unread = follower.poll().unread[0]
    chunk = unread.segment.read_chunk(0)
    os.truncate(journal, 0)
    lines[changed] = numbered(700, 710)
    append(journal, *lines)
    with pytest.raises(SegmentChanged):
        unread.segment.advance(unread.position, chunk)
    follower.close()


@pytest.mark.parametrize("restart", [False, True])
def test_a_file_that_differs_at_its_beginning_only_is_another_file(journal, collect, append, restart):
    append(journal, *numbered(100, 300))
    collector = collect(journal)
    collector.drain()
    rewritten = numbered(700, 750) + numbered(150, 300)
    os.truncate(journal, 0)
    append(journal, *rewritten)
    if restart:
        collector.restart()
    assert collector.drain() == rewritten


def test_a_torn_line_rewritten_at_the_same_length_is_offered_again(journal):
    """A writer took its half line back and wrote another of as many bytes."""
    journal.write_bytes(b"one\ntwo!")
    os.utime(journal, ns=(0, 1))
    follower = JournalFollower(str(journal))
    unread = follower.poll().unread[0]
    follower.commit(unread.segment.advance(unread.position, unread.segment.read_chunk(0)))
    unread = follower.poll().unread[0]
    unread.segment.read_chunk(unread.position.offset)
    journal.write_bytes(b"one\nnew\n")
    os.utime(journal, ns=(0, 2))
    unread = follower.poll().unread[0]
    assert [line.data for line in unread.segment.read_chunk(unread.position.offset).lines] == [b"new"]
    follower.close()


def test_a_file_out_of_sight_that_is_rewritten_is_let_go(journal, tmp_path, collect, append):
    append(journal, *numbered(0, 10))
    collector = collect(journal)
    collector.poll_once(max_lines=4)
    os.rename(journal, tmp_path / "elsewhere")
    collector.follower.poll()
    os.truncate(tmp_path / "elsewhere", 0)
    append(tmp_path / "elsewhere", *numbered(500, 550))
    assert collector.drain() == []
    assert collector.told()[-1] == NoticeKind.REWRITTEN


def test_a_copy_of_what_was_read_does_not_end_the_reading_of_the_original(journal, tmp_path, collect, append):
    append(journal, *numbered(0, 10))
    collector = collect(journal)
    collector.poll_once(max_lines=4)
    head = journal.read_bytes()[: collector.stored[1].offset]
    os.rename(journal, tmp_path / "elsewhere")
    journal.write_bytes(head)
    assert set(collector.drain()) >= set(numbered(4, 10))


def test_a_commit_behind_a_poll_that_lost_the_file_is_remembered(journal, tmp_path, append):
    """A pipelined caller commits late; when the content is back, reading goes on behind that."""
    append(journal, *numbered(0, 10))
    shutil.copyfile(journal, tmp_path / "copy")
    follower = JournalFollower(str(journal))
    unread = follower.poll().unread[0]
    first = unread.segment.advance(unread.position, unread.segment.read_chunk(0, max_lines=2))
    second = unread.segment.advance(first, unread.segment.read_chunk(first.offset))
    follower.commit(first)
    os.truncate(journal, 0)
    follower.poll()
    follower.commit(second)
    append(tmp_path / "copy", b"more")
    os.replace(tmp_path / "copy", journal)
    (unread,) = follower.poll().unread
    assert unread.position == second
    follower.close()


def test_a_vanished_file_of_which_nothing_was_read_stands_for_no_other(journal, tmp_path, collect, append):
    append(journal, b"one")
    collector = collect(journal)
    collector.follower.poll()
    os.truncate(journal, 0)
    collector.follower.poll()
    os.unlink(journal)
    for _ in range(4):
        collector.poll_once()
    collector.told()
    append(journal, b"other")
    collector.drain()
    assert collector.told() == [NoticeKind.NEW_SEGMENT]
    assert list(collector.stored) == [2]


def test_of_two_positions_with_one_inode_the_content_decides(journal, collect, append):
    append(journal, *numbered(0, 10))
    collector = collect(journal)
    collector.drain()
    right = collector.stored[1]
    append(journal, b"more")
    nothing_read = Position.start(3, right.path, right.device, right.inode)
    other = dataclasses.replace(right, segment_id=2, head_digest=b"?" * 16)
    collector.stored |= {2: other, 3: nothing_read}
    collector.restart()
    assert collector.drain() == [b"more"]
    assert collector.stored[1].offset == right.offset + 5


def test_a_name_that_changes_hands_between_scan_and_open_waits_for_the_next_poll(
    journal, tmp_path, collect, append, monkeypatch
):
    append(journal, b"first")
    append(tmp_path / "next", b"second")
    real_open = os.open

    def rotate_then_open(path, *args, **options):
        if path == str(journal) and (tmp_path / "next").exists():
            os.replace(journal, f"{journal}.1")
            os.replace(tmp_path / "next", journal)
        return real_open(path, *args, **options)

    monkeypatch.setattr(os, "open", rotate_then_open)
    collector = collect(journal)
    assert collector.poll_once() == 0
    assert collector.drain() == [b"first", b"second"]
    assert collector.stored[2].inode == journal.stat().st_ino


def test_an_unreadable_journal_is_an_error_with_errno_and_path(journal, append, monkeypatch):
    """Seed defect `journal`: an unreadable journal was swallowed."""
    append(journal, b"one")
    real_open = os.open

    def refuse(path, *args, **options):
        if path == str(journal):
            raise PermissionError(13, "Permission denied", path)
        return real_open(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreUnavailable, match="Permission denied") as caught:
        JournalFollower(str(journal)).poll()
    assert (caught.value.errno, caught.value.filename) == (13, str(journal))


def test_a_path_that_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.ndjson")
    with pytest.raises(InputInvalid, match="neither a file nor a directory"):
        JournalFollower(str(tmp_path / "pipe.ndjson")).poll()


def test_committing_a_segment_of_another_journal_is_refused(journal, append, collect):
    append(journal, b"one")
    collector = collect(journal)
    collector.drain()
    with pytest.raises(InputInvalid, match="segment 1 "):
        JournalFollower(str(journal)).commit(collector.stored[1])


def test_segment_ids_only_grow(journal, collect, append):
    append(journal, b"one")
    collector = collect(journal)
    collector.drain()
    os.unlink(journal)
    append(journal, b"entirely other content")
    collector.restart()
    collector.drain()
    assert sorted(collector.stored) == [1, 2]
