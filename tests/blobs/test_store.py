import os
import threading

import pytest

import blobs
from blobs import BlobCorrupt, BlobNotFound, BlobStore, BlobsUnavailable, BlobTooLarge, Digest, FormatUnknown, codec
from blobs.backends import MemoryBackend

BODY = b"a body, some text that compresses; " * 40


class Counting(MemoryBackend):
    """Counts the blobs that were written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Digest] = []

    def stage(self, items):
        staged = super().stage(items)
        self.written += staged.stored_bytes
        return staged


def test_a_body_comes_back(store):
    digest = store.put(BODY)
    assert digest == Digest.of(BODY)
    assert store.get(digest) == BODY
    assert digest in store
    assert list(store) == [digest]


@pytest.mark.parametrize("body", [b"", b"\0", b"\xff\xfe", "\ufeff…".encode(), os.urandom(100_000)])
def test_any_bytes_come_back(store, body):
    assert store.get(store.put(body)) == body


def test_put_twice_stores_once():
    backend = Counting()
    store = BlobStore.over(backend)
    digest = store.put(BODY)
    assert store.put(BODY) == digest
    assert store.put_many([BODY, BODY, b"other", BODY])[:2] == [digest, digest]
    assert backend.written == [digest, Digest.of(b"other")]


def test_put_many_returns_digests_in_order(store):
    bodies = [b"body %d" % (n % 150) for n in range(400)]
    assert store.put_many(iter(bodies)) == [Digest.of(body) for body in bodies]
    assert len(list(store)) == 150
    assert store.put_many([]) == []


def test_a_blob_of_the_wrong_size_is_replaced_when_its_body_is_put_again():
    """git keeps an empty object for ever, because one of that name exists."""
    backend = MemoryBackend()
    store = BlobStore.over(backend)
    digest = store.put(BODY)
    for damaged in (b"", backend.blobs[digest][:-1], backend.blobs[digest] + b"\0"):
        backend.blobs[digest] = damaged
        store.put(BODY)
        assert store.get(digest) == BODY


def test_wrong_bytes_are_never_returned():
    backend = MemoryBackend()
    store = BlobStore.over(backend)
    one, other = store.put(b"one"), store.put(b"other")
    backend.blobs[one] = backend.blobs[other]
    with pytest.raises(BlobCorrupt) as caught:
        store.get(one)
    assert caught.value.digest == one
    assert str(one) in caught.value.where
    assert str(other) in caught.value.found
    assert str(one) in caught.value.wanted
    backend.blobs[one] = b"not gzip"
    with pytest.raises(BlobCorrupt, match=str(one)):
        store.get(one)


def test_a_missing_blob_is_a_key_error_with_a_readable_message(store):
    digest = Digest.of(b"never put")
    with pytest.raises(KeyError) as caught:
        store.get(digest)
    assert isinstance(caught.value, BlobNotFound)
    assert str(caught.value).startswith(f"no blob {digest} in ")


def test_stage_is_invisible_and_publish_makes_it_seen(store):
    bodies = {Digest.of(body): body for body in (b"one", BODY)}
    staged = store.stage(bodies)
    assert list(store) == []
    assert staged.stored_bytes[Digest.of(BODY)] == len(codec.encode(BODY))
    store.publish(staged)
    assert {digest: store.get(digest) for digest in store} == bodies
    assert all(store.stat(digest).stored_bytes == staged.stored_bytes[digest] for digest in bodies)


def test_a_staged_batch_may_be_discarded(store):
    store.discard(store.stage({Digest.of(b"one"): b"one"}))
    assert list(store) == []
    assert list(store.verify()) == []


def test_a_codec_that_writes_nonsense_is_noticed_before_anyone_relies_on_it(store, monkeypatch):
    """restic once stored what a faulty encoder made of good data."""
    honest = codec.encode
    monkeypatch.setattr(codec, "encode", lambda body: honest(body[:-1] + b"!"))
    with pytest.raises(BlobCorrupt):
        store.put(BODY)
    assert list(store) == []


def test_one_body_over_the_limit_refuses_the_batch(store, monkeypatch):
    monkeypatch.setattr(codec, "MAX_BODY_BYTES", 100)
    with pytest.raises(BlobTooLarge):
        store.put_many([b"x", b"y" * 101])
    assert list(store) == []


def test_delete_takes_any_iterable_and_counts(store):
    digests = store.put_many([b"1", b"2", b"3"])
    assert store.delete(iter(digests[:2])).blobs == 2
    assert list(store) == digests[2:]


def test_a_quarantined_blob_is_gone_until_it_is_put_again(store):
    digest = store.put(BODY)
    assert "quarantine" in store.quarantine(digest)
    assert digest not in store
    store.put(BODY)
    assert store.get(digest) == BODY


def test_publish_and_delete_wait_for_the_lock(store):
    """Invariant I4 rests upon this lock."""
    staged = store.stage({Digest.of(b"one"): b"one"})
    with store.lock:
        thread = threading.Thread(target=store.publish, args=[staged])
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
        assert list(store) == []
    thread.join()
    assert list(store) == [Digest.of(b"one")]


def test_the_lock_may_be_held_around_every_method(store):
    with store.lock:
        digest = store.put(b"one")
        store.delete([digest])
        store.apply(store.plan([digest]), force=True)


def test_a_directory_is_created_once_and_opened_again(root):
    with BlobStore(root) as store:
        digest = store.put(BODY)
    assert (root / "FORMAT").read_bytes() == b'{"format":1,"digest":"blake3-256","requires":[]}\n'
    for create in (True, False):
        with BlobStore(str(root), create=create) as store:
            assert store.get(digest) == BODY
            assert repr(store) == f"BlobStore({str(root)!r})"


def test_an_empty_directory_becomes_a_store(tmp_path):
    BlobStore(tmp_path).close()
    assert (tmp_path / "FORMAT").exists()


def test_a_creation_that_a_crash_cut_short_is_finished(tmp_path):
    (tmp_path / "FORMAT.new").write_bytes(b'{"for')
    BlobStore(tmp_path).close()
    BlobStore(tmp_path, create=False).close()


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("do not touch")
    with pytest.raises(FormatUnknown, match="no blob store"):
        BlobStore(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_mistyped_path_is_an_error_and_makes_nothing(tmp_path):
    with pytest.raises(BlobsUnavailable):
        BlobStore(tmp_path / "missing", create=False)
    with pytest.raises(FormatUnknown):
        BlobStore(tmp_path, create=False)
    with pytest.raises(BlobsUnavailable):
        BlobStore(tmp_path / "missing" / "parent")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_a_store(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BlobsUnavailable):
        BlobStore(tmp_path / "file")


def test_a_store_of_a_later_release_is_refused(root):
    BlobStore(root).close()
    (root / "FORMAT").chmod(0o644)
    (root / "FORMAT").write_text('{"format":1,"digest":"blake3-256","requires":["packs-2"]}')
    with pytest.raises(FormatUnknown, match="packs-2"):
        BlobStore(root)


def test_what_the_disk_says_on_closing_is_no_error(root, monkeypatch):
    """Nothing was written through a directory's descriptor, and it is gone whatever close says."""
    store = BlobStore(root)
    close = os.close

    def closes_and_fails(fd):
        close(fd)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "close", closes_and_fails)
    store.close()
    monkeypatch.undo()
    store.close()


def test_a_closed_store_is_unavailable(root):
    store = BlobStore(root)
    store.close()
    store.close()
    with pytest.raises(BlobsUnavailable):
        store.put(b"one")


def test_exports_are_complete():
    assert all(hasattr(blobs, name) for name in blobs.__all__)
    assert len(blobs.__all__) == len(set(blobs.__all__))
