"""Packs before names, names before what they replace is given up, and the disk read back in between."""

import errno
import os

import pytest

from blobs import BlobCorrupt, BlobsUnavailable, durable
from blobs.packs.writer import PackWriter


@pytest.fixture
def steps(monkeypatch):
    """Everything that matters for durability, in order: what was done, and to which file."""
    seen = []

    def name_of(fd):
        return os.readlink(f"/proc/self/fd/{fd}")

    def watch(module, name, describe):
        real = getattr(module, name)

        def call(*arguments, **named):
            seen.append((name, describe(*arguments, **named)))
            return real(*arguments, **named)

        monkeypatch.setattr(module, name, call)

    watch(durable, "sync_file", name_of)
    watch(durable, "sync_directory", name_of)
    watch(os, "rename", lambda old, new, *, src_dir_fd, dst_dir_fd: f"{name_of(dst_dir_fd)}/{new}")
    watch(os, "unlink", lambda name, *, dir_fd: f"{name_of(dir_fd)}/{name}")
    watch(PackWriter, "read_back", lambda self: name_of(self._fd))
    return seen


def short(steps):
    """The steps with the kind of each file alone."""
    kinds = (".dead.new", ".dead", ".new", ".pack", ".gz")
    names = [path.rpartition("/")[2] for _, path in steps]
    return [(step[0], next(filter(name.endswith, kinds), name)) for step, name in zip(steps, names, strict=True)]


def test_a_pack_is_durable_before_it_has_a_name_and_its_name_before_the_return(local, kit, steps):
    steps.clear()
    kit.staged(local, kit.turns(1, 3))
    assert [step for step in short(steps) if step[0] != "unlink"] == [
        ("sync_directory", "blobs"),  # the name of packs/
        ("sync_file", ".new"),
        ("read_back", ".new"),
        ("sync_file", ".new"),  # FORMAT
        ("rename", "FORMAT"),
        ("sync_directory", "blobs"),
        ("rename", ".pack"),
        ("sync_directory", "packs"),
    ]


def test_what_is_given_up_is_noted_after_the_new_pack_is_durable(local, kit, steps):
    kit.staged(local, kit.turns(1, 3))
    kit.staged(local, kit.turns(2, 3))
    steps.clear()
    local.pack(kit.runs)
    note = [("sync_file", ".dead.new"), ("rename", ".dead"), ("sync_directory", "packs")]
    made = [("sync_file", ".new"), ("read_back", ".new"), ("rename", ".pack"), ("sync_directory", "packs")]
    assert [step for step in short(steps) if step[0] != "unlink"] == made + note + note


def test_nothing_is_removed_by_packing(local, kit, steps):
    local.put_many(list(kit.turns(1, 3).values()))
    kit.staged(local, kit.turns(2, 3))
    kit.staged(local, kit.turns(3, 3))
    steps.clear()
    local.pack(kit.runs)
    assert {path for step, path in short(steps) if step == "unlink"} <= {".dead.new"}
    steps.clear()
    local.release(kit.LATER_S)
    assert [path for _, path in short(steps) if path in (".gz", ".pack")] == [".pack", ".pack", ".gz", ".gz", ".gz"]


def test_a_pack_is_copied_before_it_is_given_up(local, kit, steps):
    kit.staged(local, kit.turns(1, 9))
    gone = sorted(kit.turns(1, 9))[:6]
    plan = local.plan(sorted(kit.turns(1, 9).keys() - set(gone)), gone)
    steps.clear()
    local.apply(plan)
    kinds = [step for step in short(steps) if step[0] in ("rename", "sync_directory")]
    assert kinds == [("rename", ".pack"), ("sync_directory", "packs"), ("rename", ".dead"), ("sync_directory", "packs")]


def test_a_disk_that_gives_back_other_bytes_is_noticed_before_anything_is_replaced(local, kit, monkeypatch):
    bodies = kit.turns(1, 9)
    local.put_many(list(bodies.values()))
    real = PackWriter.read_back

    def flaky(self):
        os.pwrite(self._fd, b"\xff", 70)
        return real(self)

    monkeypatch.setattr(PackWriter, "read_back", flaky)
    with pytest.raises(BlobCorrupt, match="a disk that gives back what was written"):
        local.pack(kit.runs)
    assert kit.files() == []
    monkeypatch.undo()
    kit.holds(local, bodies)


@pytest.mark.parametrize("broken", ["sync_file", "sync_directory"])
def test_a_failed_sync_gives_the_pack_up_and_is_not_repeated(local, kit, monkeypatch, broken):
    kit.staged(local, kit.turns(9, 2))
    calls = []

    def fail(fd):
        calls.append(fd)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(durable, broken, fail)
        with pytest.raises(BlobsUnavailable) as caught:
            kit.staged(local, kit.turns(1, 3))
    assert caught.value.errno == errno.EIO
    assert len(calls) == 1
    assert len(kit.files()) == 1
    assert not any(digest in local for digest in kit.turns(1, 3))
