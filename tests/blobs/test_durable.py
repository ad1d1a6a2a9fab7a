"""Data before names, names before the answer, and no sync is ever tried twice."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from blobs import BlobStore, BlobsUnavailable, Digest, durable

FEW = [b"%d" % n for n in range(3)]
MANY = [b"%d" % n for n in range(40)]
SYNCS = ["sync_file", "sync_directory", "sync_filesystem"]


@pytest.fixture(params=["syncfs", "no syncfs"])
def _platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no syncfs":
        monkeypatch.setattr(durable, "_syncfs", None)
    elif not durable.can_sync_filesystem():
        pytest.skip("this platform has no syncfs")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Everything that matters for durability, in order: what was done, and to which path."""
    seen: list[tuple[str, str]] = []

    def path_of(fd: int) -> str:
        return os.readlink(f"/proc/self/fd/{fd}")

    def watch(name: str) -> None:
        real = getattr(durable, name)

        def call(fd: int) -> None:
            seen.append((name, path_of(fd)))
            real(fd)

        monkeypatch.setattr(durable, name, call)

    for name in SYNCS:
        watch(name)
    real_rename, real_write = os.rename, os.write

    def rename(old, new, *, src_dir_fd, dst_dir_fd):
        seen.append(("rename", f"{path_of(dst_dir_fd)}/{new}"))
        real_rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def write(fd, content):
        seen.append(("write", path_of(fd)))
        return real_write(fd, content)

    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(os, "write", write)
    return seen


def kinds(steps: list[tuple[str, str]]) -> str:
    return re.sub(r"(\b\w+)( \1)+", r"\1+", " ".join(kind for kind, _ in steps))


@pytest.mark.usefixtures("_platform")
@pytest.mark.parametrize("bodies", [FEW, MANY], ids=["few", "many"])
def test_data_is_durable_before_it_is_renamed_and_names_before_the_return(local, root, steps, bodies):
    steps.clear()
    digests = local.put_many(bodies)
    renamed = [i for i, (kind, _) in enumerate(steps) if kind == "rename"]
    assert len(renamed) == len(bodies)
    before, after = steps[: renamed[0]], steps[renamed[-1] + 1 :]
    written = {path for kind, path in before if kind == "write"}
    assert len(written) == len(bodies)
    everything = [path for kind, path in before if kind == "sync_filesystem"]
    assert everything or {path for kind, path in before if kind == "sync_file"} == written
    if everything:
        assert before[-1][0] == "sync_filesystem"
    shards = {str(root / "objects" / digest.hex()[:2]) for digest in digests}
    assert ("sync_filesystem", str(root / "objects")) in after or (
        {path for kind, path in after if kind == "sync_directory"} == shards | {str(root / "objects")}
    )


def test_few_files_are_synced_each_and_many_at_once(local, steps):
    if not durable.can_sync_filesystem():
        pytest.skip("this platform has no syncfs")
    local.put(b"first, which makes stage/")
    steps.clear()
    local.put_many(FEW)
    assert {kind for kind, _ in steps} == {"write", "sync_file", "rename", "sync_directory"}
    steps.clear()
    local.put_many(MANY)
    assert kinds(steps) == "write+ sync_filesystem rename+ sync_filesystem"


@pytest.mark.usefixtures("_platform")
@pytest.mark.parametrize("bodies", [FEW, MANY], ids=["few", "many"])
def test_what_is_there_already_is_made_durable_again(local, root, steps, bodies):
    """It may have been copied in by a program that does not sync."""
    digests = local.put_many(bodies)
    steps.clear()
    local.put_many(bodies)
    assert "write" not in {kind for kind, _ in steps}
    files = {str(root / f"objects/{d.hex()[:2]}/{d}.gz") for d in digests}
    synced = {path for kind, path in steps if kind == "sync_file"}
    assert ("sync_filesystem", str(root / "objects")) in steps or files <= synced


@pytest.mark.parametrize("bodies", [FEW, MANY], ids=["few", "many"])
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("broken", SYNCS)
def test_a_failed_sync_aborts_the_batch_and_is_not_repeated(root, monkeypatch, bodies, nth, broken):
    with BlobStore(root) as store:
        store.put(b"before")
        calls = 0
        real = getattr(durable, broken)

        def fail(fd: int) -> None:
            nonlocal calls
            calls += 1
            if calls == nth:
                raise OSError(errno.EIO, "Input/output error")
            real(fd)

        failure = None
        with monkeypatch.context() as patched:
            patched.setattr(durable, broken, fail)
            try:
                store.put_many(bodies)
            except BlobsUnavailable as error:
                failure = error
        assert (failure is not None) == (calls >= nth), "a failed sync was passed over"
        assert list((root / "stage").iterdir()) == []
        if failure is not None:
            assert failure.errno == errno.EIO
            assert calls == nth, "nothing is synced after a failure"
            assert not any(Digest.of(body) in store for body in bodies), "nobody may rely on them"
        written = store.put_many(bodies)
        assert [store.get(digest) for digest in written] == bodies
        assert all(digest in store for digest in written)


@pytest.mark.parametrize("bodies", [FEW, MANY], ids=["few", "many"])
def test_nothing_is_visible_when_the_data_could_not_be_made_durable(local, monkeypatch, bodies):
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(durable, "sync_file", fail)
    monkeypatch.setattr(durable, "sync_filesystem", fail)
    with pytest.raises(BlobsUnavailable):
        local.put_many(bodies)
    assert list(local) == []


@pytest.mark.parametrize("call", ["open", "write", "close", "rename", "mkdir"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_failing_system_call_is_unavailable_and_keeps_its_errno(local, monkeypatch, call, code):
    local.put(b"before")
    real = getattr(os, call)

    def fail(first, *rest, **named):
        if call == "open" and not rest[0] & os.O_CREAT:
            return real(first, *rest, **named)
        if call == "close":
            real(first)
            monkeypatch.undo()
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(BlobsUnavailable, match=re.escape(os.strerror(code))) as caught:
        local.put(b"after")
    assert caught.value.errno == code
    monkeypatch.undo()
    assert list(local) == [Digest.of(b"before")]
    local.put(b"after")
    assert local.get(Digest.of(b"after")) == b"after"


def test_a_short_write_is_carried_on(local, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, content: real(fd, content[:7]))
    body = os.urandom(1000)
    assert local.get(local.put(body)) == body


def test_format_is_whole_or_absent(tmp_path, steps):
    BlobStore(tmp_path / "blobs").close()
    home = str(tmp_path / "blobs")
    assert steps == [
        ("sync_directory", str(tmp_path)),
        ("write", f"{home}/FORMAT.new"),
        ("sync_file", f"{home}/FORMAT.new"),
        ("rename", f"{home}/FORMAT"),
        ("sync_directory", home),
        ("sync_directory", home),  # the name of objects/
    ]


def test_quarantine_makes_both_directories_durable(local, root, steps):
    digest = local.put(b"body")
    steps.clear()
    local.quarantine(digest)
    synced = {path for kind, path in steps if kind == "sync_directory"}
    assert synced >= {str(root / "quarantine"), str(root / "objects" / digest.hex()[:2])}


def test_an_old_kernel_is_not_trusted_with_syncfs(monkeypatch):
    """Before 5.8 syncfs answered success for data that never reached the disk."""
    monkeypatch.setattr(durable.sys, "platform", "linux")
    for release, trusted in (("5.7.19", False), ("4.19.0-26", False), ("5.8.0", True), ("6.1", True), ("odd", False)):
        monkeypatch.setattr(durable.platform, "release", lambda release=release: release)
        assert (durable._find_syncfs() is not None) == (trusted and hasattr(durable.ctypes.CDLL(None), "syncfs"))


def test_syncfs_of_a_closed_descriptor_fails():
    if not durable.can_sync_filesystem():
        pytest.skip("this platform has no syncfs")
    with pytest.raises(OSError, match="Bad file descriptor"):
        durable.sync_filesystem(-1)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_kernel_sees_the_same_order(root, tmp_path):
    """The tests above trust the names of our functions; strace does not."""
    script = f"from blobs import BlobStore; BlobStore({str(root)!r}).put_many([b'%d' % n for n in range(40)])"
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-o", str(trace), "-e", "trace=/^(fsync|syncfs|rename.*)$", sys.executable, "-c", script]
    here = Path(__file__).parents[2]
    run = subprocess.run(command, capture_output=True, check=False, cwd=here)
    if run.returncode != 0 and b"ptrace" in run.stderr:
        pytest.skip("strace may not trace here")
    assert run.returncode == 0, run.stderr
    calls = re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE)
    order = re.sub(r"(\w+)( \1)+", r"\1+", " ".join(calls).replace("renameat2", "rename").replace("renameat", "rename"))
    assert order.endswith("syncfs rename+ syncfs")


def test_a_file_system_that_refuses_the_placement_hint_is_fine(local, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")

    monkeypatch.setattr(durable.fcntl, "ioctl", refuse)
    assert local.get(local.put(b"first, which makes stage/")) == b"first, which makes stage/"
