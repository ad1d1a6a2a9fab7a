from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from blobs import BlobStore, Digest, Subset
from blobs.backends import MemoryBackend

digests = some.binary(min_size=32, max_size=32).map(Digest)


@given(digests, some.integers(1, 1000))
@settings(deadline=None)
def test_parts_cover_everything_and_do_not_overlap(digest, parts):
    assert [digest in Subset.part(number, parts) for number in range(1, parts + 1)].count(True) == 1


@given(some.sampled_from([b"\0" * 32, b"\xff" * 32, b"\x80" + b"\0" * 31]), some.integers(0, 2**64))
@settings(deadline=None)
def test_a_whole_share_holds_everything_wherever_it_begins(digest, first):
    assert digest in Subset.share(1, first)
    assert digest in Subset.part(1, 1)


def test_a_share_may_run_over_the_end_of_the_circle():
    subset = Subset.share(0.5, 3 << 62)
    assert [bytes([first]) + bytes(31) in subset for first in (0xBF, 0xC0, 0xFF, 0x00, 0x3F, 0x40)] == [
        False, True, True, True, True, False,
    ]  # fmt: skip


def test_a_share_is_about_that_much_of_everything():
    many = [Digest.of(b"%d" % n) for n in range(4000)]
    assert 150 < sum(digest in Subset.share(0.05, 12345 << 48) for digest in many) < 250


@pytest.mark.parametrize(("number", "parts"), [(0, 3), (4, 3), (1, 0)])
def test_a_part_that_is_none_is_refused(number, parts):
    with pytest.raises(ValueError, match="wanted a part"):
        Subset.part(number, parts)


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="wanted one above 0"):
        Subset.share(share, 0)


def test_verify_reads_the_blobs_of_the_subset_and_no_other():
    backend = MemoryBackend()
    store = BlobStore.over(backend)
    stored = store.put_many([b"%d" % n for n in range(300)])
    for digest in stored:
        backend.blobs[digest] = backend.blobs[digest][:-1]
    found = [[finding.digest for finding in store.verify(True, Subset.part(n, 7))] for n in range(1, 8)]
    assert all(found)
    assert sorted(chain(*found)) == sorted(stored)
