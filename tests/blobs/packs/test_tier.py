"""The directory of packs: what is found in it, what is kept in memory, and what an error leaves."""

import errno
import os
import resource
import threading

import pytest

from blobs import BlobCorrupt, BlobNotFound, BlobStore, BlobsUnavailable, Digest, FormatUnknown, durable, layout
from blobs.packs import cache, frame
from blobs.packs.pack import Pack
from blobs.packs.tier import PackTier


@pytest.fixture
def bodies(kit):
    return kit.turns(1, 12)


def flipped_in_frame(kit):
    (path,) = kit.files(".pack")
    kit.flip(path, 60, 0xFF)


def test_what_came_in_as_a_pack_is_read_checked_and_listed(local, kit, bodies, root):
    kit.staged(local, bodies)
    kit.holds(local, bodies)
    assert list(local) == sorted(bodies)
    assert all(digest in local for digest in bodies)
    assert (local.tiers().packs, local.tiers().packed_bodies, local.tiers().loose_blobs) == (1, 12, 0)
    assert local.tiers().packed_raw_bytes == pytest.approx(sum(map(len, bodies.values())), rel=0.05)
    assert kit.harmful(local) == []
    assert Digest.of(b"never put") not in local
    with pytest.raises(BlobNotFound):
        local.get(Digest.of(b"never put"))


def test_format_says_that_there_are_packs_before_the_first_is_there(local, kit, bodies, root, monkeypatch):
    seen = []
    real = os.rename

    def rename(old, new, **directories):
        seen.append((new, layout.PACKS_REQUIRED in (root / "FORMAT").read_text()))
        real(old, new, **directories)

    monkeypatch.setattr(os, "rename", rename)
    kit.staged(local, bodies)
    assert [(name[-5:], required) for name, required in seen] == [("ORMAT", False), (".pack", True)]
    kit.staged(local, kit.turns(2, 3))
    assert len(seen) == 3, "FORMAT is written once"
    assert layout.check_format((root / "FORMAT").read_bytes()) == ("packs-1",)


def test_a_store_that_requires_more_is_refused(local, kit, bodies, root):
    kit.staged(local, bodies)
    local.close()
    kit.overwrite(root / "FORMAT", (root / "FORMAT").read_bytes().replace(b"packs-1", b"packs-2"))
    with pytest.raises(FormatUnknown, match="packs-2"):
        BlobStore(root)


def test_nothing_is_visible_before_a_pack_is_published(local, kit, bodies):
    batch = bodies | {Digest.of(b"%d" % n): b"%d" % n for n in range(300)}
    staged = local.stage(batch)
    assert staged.pack is not None
    assert list(local) == []
    assert len(kit.leftovers()) == 1
    assert list(local.verify()) == []  # a pack being written is no leftover
    local.discard(staged)
    assert kit.files() == []
    staged = local.stage(batch)
    local.publish(staged)
    local.discard(staged)  # published: left alone
    kit.holds(local, batch)


def test_few_bodies_and_stores_without_packs_stay_in_files_of_their_own(kit, root):
    many = {Digest.of(b"%d" % n): b"%d" % n for n in range(300)}
    with BlobStore(root, packs=False) as store:
        store.publish(store.stage(many))
        assert (store.tiers().packs, store.tiers().loose_blobs) == (0, 300)
        assert not (root / "packs").exists()


def test_equal_bodies_never_make_the_same_pack(local, kit, bodies):
    """Else one that was given up would be taken for one that was stored again."""
    kit.staged(local, bodies)
    kit.staged(local, bodies)
    assert len(kit.files(".pack")) == 2


def test_a_backlog_of_small_packs_needs_no_descriptor_for_each(local, kit, reopened):
    bodies = {}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
    try:
        for number in range(40):
            kit.staged(local, kit.turns(number, 2))
            bodies |= kit.turns(number, 2)
        store = reopened()
        kit.holds(store, bodies)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_large_index_is_searched_where_it_is(local, kit, reopened):
    bodies = {Digest.of(b"%d" % n): b"%d" % n for n in range(6000)}
    local.publish(local.stage(bodies))
    store = reopened()
    assert list(store) == sorted(bodies)
    kit.holds(store, dict(list(bodies.items())[::97]))


def test_packs_have_the_mode_of_blobs(local, kit, bodies, root):
    kit.staged(local, bodies)
    local.delete(list(bodies)[:1])
    assert {path.stat().st_mode & 0o777 for path in kit.files()} == {0o400}
    assert (root / "packs").stat().st_mode & 0o777 == 0o700
    (path,) = kit.files(".pack")
    path.chmod(0o644)
    assert [(finding.kind, finding.harmless) for finding in local.verify()] == [("mode", True)]
    local.protect(f"packs/{path.name}")
    assert list(local.verify()) == []


def test_strangers_are_told_left_alone_and_set_aside(local, kit, bodies, root):
    kit.staged(local, bodies)
    packs = root / "packs"
    (packs / "notes.txt").write_text("mine")
    (packs / "notes.new").write_text("mine, too")
    (packs / f"{'0' * 16}.new").mkdir()
    (packs / f"{'a' * 64}.pack").symlink_to(kit.files(".pack")[0])
    found = sorted((finding.kind, finding.path) for finding in local.verify())
    assert found == [
        ("stranger", f"packs/{'0' * 16}.new"),
        ("stranger", "packs/notes.new"),
        ("stranger", "packs/notes.txt"),
        ("symlink", f"packs/{'a' * 64}.pack"),
    ]
    assert local.apply(local.plan(sorted(bodies))).leftovers_deleted == 0
    for _, path in found:
        local.set_aside(path, local.name_aside(path))
    assert list(local.verify()) == []


def test_what_a_crash_left_is_told_and_swept(local, kit, bodies, reopened, root):
    kit.staged(local, bodies)
    local.stage(kit.turns(5, 3) | {Digest.of(b"%d" % n): b"%d" % n for n in range(300)})
    for name in (f"{'b' * 64}.dead", f"{'c' * 64}.dead.new"):
        (root / "packs" / name).write_bytes(b"of a pack that is gone")
    store = reopened()
    assert {finding.kind for finding in store.verify()} == {"leftover"}
    assert len(list(store.verify())) == 3
    summary = store.apply(store.plan(sorted(bodies)))
    assert (summary.leftovers_deleted, summary.blobs_deleted) == (3, 0)
    assert list(store.verify(data=True)) == []
    kit.holds(store, bodies)


def test_a_file_in_place_of_the_directory_is_told_and_holds_nothing(root, kit):
    with BlobStore(root) as store:
        store.put(b"loose")
    (root / "packs").write_text("in the way")
    with BlobStore(root) as store:
        assert {(finding.kind, finding.path) for finding in store.verify()} >= {("stranger", "packs")}
        assert store.get(Digest.of(b"loose")) == b"loose"
        with pytest.raises(BlobsUnavailable):
            kit.staged(store, kit.turns(1, 3))


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.EACCES])
def test_a_directory_of_packs_that_cannot_be_looked_at_is_not_an_empty_one(local, kit, bodies, root, monkeypatch, code):
    """Nothing in it would be found, and what is not found is swept, or called lost."""
    kit.staged(local, bodies)
    real = durable.open_directory

    def fail(name, parent_fd=None):
        if name == layout.PACKS:
            raise OSError(code, os.strerror(code))
        return real(name, parent_fd)

    monkeypatch.setattr(durable, "open_directory", fail)
    with pytest.raises(BlobsUnavailable) as caught:
        BlobStore(root)
    assert caught.value.errno == code


def test_a_pack_that_cannot_be_opened_is_told_and_the_others_are_read(local, kit, bodies, reopened):
    others = kit.turns(2, 5)
    kit.staged(local, bodies)
    (path,) = kit.files(".pack")
    kit.staged(local, others)
    kit.flip(path, -1)
    store = reopened()
    kit.holds(store, others)
    assert list(store) == sorted(others)
    assert [(finding.kind, finding.path) for finding in store.verify()] == [("corrupt", f"packs/{path.name}")]
    with pytest.raises(BlobNotFound):
        store.get(next(iter(bodies)))
    plan = store.plan(sorted([*bodies, *others]))
    assert plan.missing_count == len(bodies)
    assert plan.refusals, "what is damaged is not what nobody needs"


def test_a_pack_whose_disk_fails_is_unreadable_and_another_copy_is_read(local, kit, bodies, monkeypatch, reopened):
    kit.staged(local, bodies)
    kit.staged(local, bodies)
    store = reopened()
    first = next(iter(store._tier)).name
    real = os.pread
    fd_of = {}

    def pread(fd, size, start):
        path = os.readlink(f"/proc/self/fd/{fd}")
        fd_of[path] = fd
        if first.hex() in path:
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, size, start)

    monkeypatch.setattr(os, "pread", pread)
    kit.holds(store, bodies)
    assert [finding.kind for finding in store.verify(data=True)] == ["unreadable"]


def test_a_damaged_frame_is_an_error_and_another_copy_is_read(local, kit, bodies, reopened):
    kit.staged(local, bodies)
    flipped_in_frame(kit)
    store = reopened()
    digest = sorted(bodies, key=lambda digest: len(bodies[digest]))[-1]
    with pytest.raises(BlobCorrupt, match=f"blob {digest}"):
        store.get(digest)
    assert [finding.kind for finding in store.verify(data=True)] == ["corrupt"]
    kit.staged(store, bodies)
    kit.holds(store, bodies)
    assert store.put_many(list(bodies.values())) == list(bodies)  # it finds the copy that is whole
    assert store.tiers().loose_blobs == 0


def test_a_body_whose_only_packed_copy_is_damaged_is_written_again_when_it_is_put(local, kit, bodies, reopened):
    kit.staged(local, bodies)
    flipped_in_frame(kit)
    store = reopened()
    store.put_many(list(bodies.values()))
    assert store.tiers().loose_blobs > 0
    kit.holds(store, bodies)


def test_a_damage_that_went_away_is_forgotten(local, kit, bodies, reopened):
    kit.staged(local, bodies)
    flipped_in_frame(kit)
    store = reopened()
    last = list(bodies)[-1]
    with pytest.raises(BlobCorrupt):
        store.get(last)
    flipped_in_frame(kit)  # a bad cable, not a bad disk
    assert store.get(last) == bodies[last]


def test_a_reader_follows_a_body_from_pack_to_pack(local, kit, bodies, monkeypatch):
    """The pack that it found goes between the look and the read."""
    kit.staged(local, bodies)
    (old,) = local._tier
    real = PackTier.body

    def body(self, seat):
        if old in set(local._tier):
            kit.staged(local, bodies)
            self.give_up(old, range(12))
            self.remove(old)
        return real(self, seat)

    monkeypatch.setattr(PackTier, "body", body)
    kit.holds(local, bodies)
    assert len(kit.files(".pack")) == 1


def test_a_reader_follows_a_body_out_of_a_pack_into_a_file(local, kit, bodies, monkeypatch):
    kit.staged(local, bodies)
    digest, body = next(iter(bodies.items()))
    real = local._backend.read
    looks = []

    def read(wanted, limit_bytes, fresh=False):
        try:
            return real(wanted, limit_bytes, fresh)
        finally:
            if not looks:
                looks.append(1)
                local.unpack()
                local.release(kit.LATER_S)

    monkeypatch.setattr(local._backend, "read", read)
    assert local.get(digest) == body
    assert kit.files() == []


def test_readers_and_a_packer_at_full_speed_miss_nothing(local, kit):
    bodies = {digest: body for n in range(6) for digest, body in kit.turns(n, 8).items()}
    local.put_many(list(bodies.values()))
    stop, errors = threading.Event(), []

    def read(seed: int) -> None:
        order = sorted(bodies)[seed:] + sorted(bodies)[:seed]
        try:
            while not stop.is_set():
                kit.holds(local, {digest: bodies[digest] for digest in order})
        except Exception as error:  # whatever it is, the test must tell
            errors.append(error)

    threads = [threading.Thread(target=read, args=[seed]) for seed in (0, 17)]
    for thread in threads:
        thread.start()
    for number in range(8):
        local.pack(kit.runs)
        local.release(kit.LATER_S)
        if number % 2:
            local.unpack()
            local.release(kit.LATER_S)
        kit.staged(local, bodies)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []


def test_frames_that_are_kept_take_bounded_memory(local, kit, monkeypatch):
    """One that was hardly decoded holds its stored bytes all the same."""
    monkeypatch.setattr(cache, "CACHE_BYTES", 300_000)
    bodies = {}
    with local._tier.writing(frame.LEVEL) as begun:
        for _ in range(12):
            some = [os.urandom(30_000) for _ in range(3)]
            begun.add([(Digest.of(body), body) for body in some])
            bodies |= {Digest.of(body): body for body in some}
        staged = begun.finish()
    local.publish(staged)
    for digest, body in bodies.items():
        assert local.get(digest) == body
        assert local._tier._cache.held_bytes <= 300_000
    assert local._tier._cache.held_bytes > 50_000


def test_a_conversation_is_read_by_decoding_each_frame_once(local, kit, bodies, monkeypatch):
    kit.staged(local, bodies)
    kit.staged(local, kit.turns(2, 12))
    opened = []
    real = Pack.open_frame
    monkeypatch.setattr(Pack, "open_frame", lambda self, *a: opened.append(self) or real(self, *a))
    dict(local.get_many([*bodies, *kit.turns(2, 12)]))
    assert len(opened) == 2


@pytest.mark.parametrize("step", ["rename", "sync_directory", "Pack"])
def test_a_pack_that_could_not_be_published_leaves_nothing(local, kit, bodies, monkeypatch, step, reopened):
    kit.staged(local, kit.turns(9, 3))  # FORMAT is written by then

    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        if step == "rename":
            patched.setattr(os, "rename", fail)
        elif step == "Pack":
            patched.setattr("blobs.packs.directory.Pack", fail)
        else:
            patched.setattr(durable, "sync_directory", fail)
        with pytest.raises(BlobsUnavailable):
            kit.staged(local, bodies)
    assert len(kit.files()) == 1
    assert not any(digest in local for digest in bodies)
    kit.staged(local, bodies)
    kit.holds(local, bodies)
    kit.holds(reopened(), bodies)


def test_a_directory_that_may_only_be_read_is_read(local, kit, bodies, root, monkeypatch):
    """As an archive, or another user's: opening and reading write nothing."""
    kit.staged(local, bodies)
    local.put(b"loose")
    local.close()
    real = os.open

    def open_to_read(path, flags, *rest, **named):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", open_to_read)
    with BlobStore(root, create=False) as store:
        kit.holds(store, bodies)
        assert len(list(store)) == len(bodies) + 1
        assert list(store.verify(data=True)) == []
        with pytest.raises(BlobsUnavailable):
            kit.staged(store, kit.turns(2, 2))
