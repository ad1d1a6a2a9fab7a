"""Following a directory: which files count, in what order, and how many are open at once."""

import os
import time

import pytest

from tracestore.errors import StoreUnavailable
from tracestore.journal.follow import JournalFollower
from tracestore.journal.notices import NoticeKind


def open_inodes(directory):
    """Inodes of the directory's files that this process holds open."""
    inside = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue
        if target.startswith(str(directory)):
            inside.add(target)
    return inside


def set_age(path, seconds):
    os.utime(path, ns=(seconds * 10**9, seconds * 10**9))


def test_segments_are_told_from_other_files_by_their_names(tmp_path, collect, append):
    for name in ("a.ndjson", "b.jsonl", "c.ndjson.1", "d.jsonl-20260101", "1700-1-0.ndjson"):
        append(tmp_path / name, name.encode())
    for name in (
        "rejected.ndjson",
        "rejected.ndjson.1",
        ".a.ndjson.swp",
        "e.ndjson.2.gz",
        "f.jsonl.zst",
        "g.json",
        "h.log",
    ):
        append(tmp_path / name, b"no segment: " + name.encode())
    (tmp_path / "i.ndjson").mkdir()
    os.mkfifo(tmp_path / "j.ndjson")
    assert sorted(collect(tmp_path).drain()) == [
        b"1700-1-0.ndjson",
        b"a.ndjson",
        b"b.jsonl",
        b"c.ndjson.1",
        b"d.jsonl-20260101",
    ]


def test_symbolic_links_inside_a_directory_are_not_followed(tmp_path, collect, append):
    (tmp_path / "journal").mkdir()
    append(tmp_path / "outside.ndjson", b"outside")
    (tmp_path / "journal" / "link.ndjson").symlink_to(tmp_path / "outside.ndjson")
    assert collect(tmp_path / "journal").drain() == []


def test_a_directory_may_itself_be_a_symbolic_link(tmp_path, collect, append):
    (tmp_path / "journal").mkdir()
    append(tmp_path / "journal" / "a.ndjson", b"one")
    (tmp_path / "link").symlink_to(tmp_path / "journal")
    assert collect(tmp_path / "link").drain() == [b"one"]


def test_one_file_of_two_names_is_read_once(tmp_path, collect, append):
    append(tmp_path / "a.ndjson", b"one")
    os.link(tmp_path / "a.ndjson", tmp_path / "b.ndjson")
    assert collect(tmp_path).drain() == [b"one"]


def test_segments_are_read_in_the_order_of_their_last_change(tmp_path, collect, append):
    for age, name in ((30, "b"), (10, "c"), (20, "a")):
        append(tmp_path / f"{name}.ndjson", name.encode())
        set_age(tmp_path / f"{name}.ndjson", age)
    assert collect(tmp_path).drain() == [b"c", b"a", b"b"]


def test_an_empty_directory_is_no_wait(tmp_path, collect):
    collector = collect(tmp_path)
    assert collector.drain() == []
    assert collector.told() == []


def test_a_segment_unlinked_while_followed_is_read_to_its_end(tmp_path, collect, append):
    append(tmp_path / "a.ndjson", b"one", b"two", b"three")
    collector = collect(tmp_path)
    collector.poll_once(max_lines=1)
    os.unlink(tmp_path / "a.ndjson")
    assert collector.drain() == [b"two", b"three"]
    told = collector.told()
    assert told == [NoticeKind.NEW_SEGMENT, NoticeKind.VANISHED]


def test_a_torn_line_of_a_vanished_segment_is_reported_as_lost(tmp_path, collect):
    (tmp_path / "a.ndjson").write_bytes(b"one\ntorn")
    set_age(tmp_path / "a.ndjson", 1)
    collector = collect(tmp_path)
    collector.drain()
    os.unlink(tmp_path / "a.ndjson")
    for _ in range(6):
        collector.poll_once()
    last = collector.notices[-1]
    assert last.is_warning
    assert "4 bytes behind byte 4" in last.sentence
    assert open_inodes(tmp_path) == set()


def test_more_segments_than_may_be_open_are_all_read(tmp_path, collect, append):
    names = [b"%03d" % number for number in range(50)]
    for name in names:
        append(tmp_path / f"{name.decode()}.ndjson", name)
    collector = collect(tmp_path, max_open=4)
    while collector.poll_once():
        assert len(open_inodes(tmp_path)) <= 4
    assert sorted(collector.lines) == names


def test_a_restart_looks_at_every_segment_without_holding_them_all_open(tmp_path, collect, append, monkeypatch):
    paths = [tmp_path / f"{number}.ndjson" for number in range(30)]
    for path in paths:
        append(path, path.name.encode())
    collector = collect(tmp_path)
    collector.drain()
    for path in paths:
        append(path, b"more in " + path.name.encode())
    collector.max_open = 4
    collector.restart()
    real_open, most = os.open, []

    def count(path, *args, **options):
        most.append(len(open_inodes(tmp_path)))
        return real_open(path, *args, **options)

    monkeypatch.setattr(os, "open", count)
    assert sorted(collector.drain()) == sorted(b"more in " + path.name.encode() for path in paths)
    assert max(most) <= 4


def test_a_backlog_is_not_scanned_again_for_every_few_segments(tmp_path, append, monkeypatch):
    for number in range(30):
        append(tmp_path / f"{number}.ndjson", b"one")
    real_scandir, scans = os.scandir, []

    def count(path):
        scans.append(path)
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", count)
    follower = JournalFollower(str(tmp_path), max_open=4, now_ns=lambda: 1)
    offered = 0
    while unread := follower.poll().unread:
        offered += len(unread)
        for item in unread:
            chunk = item.segment.read_chunk(item.position.offset)
            follower.commit(item.segment.advance(item.position, chunk))
    assert offered == 30
    assert len(scans) == 2
    follower.close()


def test_a_segment_that_cannot_be_read_does_not_hold_up_the_others(tmp_path, collect, append, monkeypatch):
    """Seed defect `journal`: an unreadable journal was swallowed."""
    append(tmp_path / "a.ndjson", b"hidden")
    append(tmp_path / "b.ndjson", b"one")
    real_open = os.open

    def refuse(path, *args, **options):
        if str(path).endswith("a.ndjson"):
            raise PermissionError(13, "Permission denied", path)
        return real_open(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    collector = collect(tmp_path)
    assert collector.drain() == [b"one"]
    (notice,) = [notice for notice in collector.notices if notice.kind == NoticeKind.UNREADABLE]
    assert notice.is_warning
    assert "Permission denied" in notice.sentence
    monkeypatch.undo()
    assert collector.drain() == [b"hidden"]


def test_a_directory_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StoreUnavailable, match="let this user read"):
        JournalFollower(str(tmp_path)).poll()


def test_a_restored_directory_is_recognised_by_content(tmp_path, collect, append):
    """A journal copied back from a backup has other inodes, and perhaps other names."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "journal").symlink_to(tmp_path / "old")
    for number in range(20):
        append(tmp_path / "old" / f"{number}.ndjson", b"line of %d" % number, b"x" * (number * 300 + 1))
    collector = collect(tmp_path / "journal")
    collector.drain()
    for number in range(20):
        content = (tmp_path / "old" / f"{number}.ndjson").read_bytes()
        (tmp_path / "new" / f"{number + 1}.jsonl").write_bytes(content + b"more of %d\n" % number)
    (tmp_path / "journal").unlink()
    (tmp_path / "journal").symlink_to(tmp_path / "new")
    collector.restart()
    assert sorted(collector.drain()) == sorted(b"more of %d" % number for number in range(20))


def test_an_inode_given_out_again_is_judged_by_its_content(tmp_path, collect, append):
    """The file is drained, closed and unlinked; most file systems give its inode to the next file."""
    collector = collect(tmp_path, max_open=1)
    for number in range(30):
        name = tmp_path / f"{number}.ndjson"
        append(name, b"segment %d" % number)
        assert collector.drain() == [b"segment %d" % number]
        os.unlink(name)
        for _ in range(3):
            collector.poll_once()
    assert len(collector.lines) == 30


def test_thousands_of_idle_segments_are_cheap_to_poll(tmp_path):
    """Only a scan and its stats: no file is opened again, and no more than 64 are open."""
    for number in range(4_000):
        with (tmp_path / f"{number}.ndjson").open("wb") as file:
            file.write(b"segment %d\n" % number)
    follower = JournalFollower(str(tmp_path))
    lines = 0
    while unread := follower.poll().unread:
        for item in unread:
            chunk = item.segment.read_chunk(item.position.offset)
            follower.commit(item.segment.advance(item.position, chunk))
            lines += len(chunk.lines)
    assert lines == 4_000
    assert len(open_inodes(tmp_path)) <= 64
    started = time.perf_counter()
    assert follower.poll().unread == []
    assert time.perf_counter() - started < 1.0
    follower.close()
