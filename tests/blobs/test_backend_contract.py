"""The contract in `blobs.backends.base`, over every place. Stored bytes here are any bytes."""

import threading

import pytest

from blobs import Backend, BlobCorrupt, BlobNotFound, BlobStore, Digest, layout

LIMIT = 1 << 20


def items_of(count: int, size: int = 10) -> dict[Digest, bytes]:
    return {Digest.of(b"%d" % n): b"%d" % n * size for n in range(count)}


def put(backend: Backend, items: dict[Digest, bytes]) -> None:
    backend.publish(backend.stage(items.items()))


@pytest.mark.parametrize("count", [0, 1, 4, 5, 300])
def test_a_published_batch_is_read_back(backend, count):
    items = items_of(count)
    staged = backend.stage(iter(items.items()))
    assert dict(staged.stored_bytes) == {digest: len(stored) for digest, stored in items.items()}
    backend.publish(staged)
    assert {digest: backend.read(digest, LIMIT) for digest in items} == items
    assert [blob.digest for blob in backend.list()] == sorted(items)


@pytest.mark.parametrize("count", [1, 5])
def test_a_staged_batch_is_invisible(backend, count):
    items = items_of(count)
    staged = backend.stage(items.items())
    assert list(backend.list()) == []
    for digest in items:
        assert backend.stat(digest) is None
        with pytest.raises(BlobNotFound):
            backend.read(digest, LIMIT)
    backend.discard(staged)


def test_a_discarded_batch_leaves_nothing(backend):
    staged = backend.stage(items_of(3).items())
    backend.discard(staged)
    backend.discard(staged)
    assert list(backend.list()) == []
    assert list(backend.oddities()) == []
    assert backend.clear_leftovers().blobs == 0


def test_discarding_a_published_batch_changes_nothing(backend):
    items = items_of(3)
    staged = backend.stage(items.items())
    backend.publish(staged)
    backend.discard(staged)
    assert [blob.digest for blob in backend.list()] == sorted(items)


def test_two_batches_with_the_same_blob_may_be_staged_at_once(backend):
    items = items_of(2)
    first, second = backend.stage(items.items()), backend.stage(items.items())
    backend.publish(second)
    backend.publish(first)
    assert {digest: backend.read(digest, LIMIT) for digest in items} == items


def test_publishing_replaces_what_is_there(backend):
    digest = Digest.of(b"body")
    put(backend, {digest: b"cut sho"})
    put(backend, {digest: b"whole stored bytes"})
    assert backend.read(digest, LIMIT) == b"whole stored bytes"
    assert backend.stat(digest).stored_bytes == 18


@pytest.mark.parametrize("count", [1, 5, 40])
def test_known_blobs_are_accepted_and_a_missing_one_is_not(backend, count):
    known = items_of(count)
    put(backend, known)
    new = Digest.of(b"new")
    backend.publish(backend.stage([(new, b"new")]), known=set(known))
    assert backend.stat(new) is not None
    other = Digest.of(b"other")
    staged = backend.stage([(other, b"other")])
    with pytest.raises(BlobNotFound):
        backend.publish(staged, known={*known, Digest.of(b"never put")})
    assert backend.stat(other) is None


def test_an_error_among_the_items_stages_nothing(backend):
    def items():
        yield Digest.of(b"1"), b"1"
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        backend.stage(items())
    assert list(backend.oddities()) == []
    assert backend.clear_leftovers().blobs == 0


def test_what_is_not_there_is_not_found(backend):
    digest = Digest.of(b"never put")
    assert backend.stat(digest) is None
    with pytest.raises(BlobNotFound, match=str(digest)):
        backend.read(digest, LIMIT)
    with pytest.raises(BlobNotFound):
        BlobStore.over(backend).quarantine(digest)
    with pytest.raises(FileNotFoundError):
        backend.read_file(layout.blob_path(digest), LIMIT)
    assert list(backend.files(layout.blob_path(digest))) == []
    assert list(backend.files(layout.QUARANTINE)) == []
    backend.protect(layout.blob_path(digest))
    assert backend.delete([digest]).blobs == 0


def test_stored_bytes_over_the_limit_are_not_read(backend):
    digest = Digest.of(b"body")
    put(backend, {digest: b"x" * 11})
    assert len(backend.read(digest, 11)) == 11
    with pytest.raises(BlobCorrupt, match="at most 10 stored bytes"):
        backend.read(digest, 10)


def test_an_empty_blob_is_kept(backend):
    digest = Digest.of(b"body")
    put(backend, {digest: b""})
    assert backend.read(digest, LIMIT) == b""
    assert backend.stat(digest).stored_bytes == 0


@pytest.mark.parametrize("count", [1, 300])
def test_deleting_counts_what_was_there(backend, count):
    items = items_of(count + 2)
    put(backend, items)
    gone = sorted(items)[:count]
    allocated = sum(backend.stat(digest).allocated_bytes for digest in gone)
    deleted = backend.delete([*gone, Digest.of(b"never put")])
    assert (deleted.blobs, deleted.bytes_reclaimed) == (count, allocated)
    assert [blob.digest for blob in backend.list()] == sorted(items)[count:]
    assert backend.delete(gone).blobs == 0


def test_a_deleted_blob_can_be_put_again(backend):
    items = items_of(1)
    put(backend, items)
    backend.delete(list(items))
    put(backend, items)
    assert [blob.digest for blob in backend.list()] == sorted(items)


def test_a_quarantined_blob_is_not_found_and_its_digest_is_free_again(backend):
    items = items_of(2)
    put(backend, items)
    digest = sorted(items)[0]
    path = layout.blob_path(digest)
    first = backend.set_aside(path, backend.name_aside(path))
    assert backend.stat(digest) is None
    assert [blob.digest for blob in backend.list()] == sorted(items)[1:]
    put(backend, items)
    with pytest.raises(FileExistsError):
        backend.set_aside(path, first.removeprefix("quarantine/"))
    second = backend.set_aside(path, backend.name_aside(path))
    assert (first, second) == (f"quarantine/{digest}.gz", f"quarantine/{digest}.gz.1")
    assert list(backend.files(layout.QUARANTINE)) == [first, second]
    assert backend.read_file(second, LIMIT) == items[digest]
    with pytest.raises(BlobCorrupt, match="at most 3 stored bytes"):
        backend.read_file(second, 3)


def test_every_place_has_a_name_for_people(backend):
    digest = Digest.of(b"body")
    assert backend.where()
    assert str(digest) in backend.where(digest)
    assert backend.__class__.__name__ in repr(backend)


def test_threads_stage_and_publish_at_the_same_time(backend):
    batches = [{Digest.of(b"%d" % n): b"%d" % n for n in range(start, start + 60)} for start in range(0, 400, 40)]
    start = threading.Barrier(len(batches))

    def work(batch):
        start.wait()
        put(backend, batch)

    threads = [threading.Thread(target=work, args=[batch]) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [blob.digest for blob in backend.list()] == sorted({digest for batch in batches for digest in batch})


def test_closing_twice_is_fine(backend):
    backend.close()
    backend.close()
