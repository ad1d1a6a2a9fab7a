"""The short form of the damaged files, and proof that the campaign would notice."""

import pytest

import blobs.reading
from blobs import BlobNotFound, codec
from blobs.packs import check
from blobs.packs.tier import PackTier
from tests.faults import flips


def test_every_damaged_file_is_found_and_no_wrong_byte_is_read():
    report = flips.run(4_000, seed=1)
    assert report.tries >= 4_000
    assert report.violations == []


def read_unproved(tier, digest):
    for seat in tier.find(digest):
        return tier.body(seat)
    raise BlobNotFound(digest, "packs")


@pytest.mark.parametrize(
    ("owner", "name", "without", "noticed"),
    [
        (codec, "flipped_bits", lambda body, stored: 0, "not found"),
        (blobs.reading, "decode_body", lambda backend, digest, stored: codec.decode(stored), "wrong bytes"),
        (check, "_is_as_written", lambda tier, pack: True, "not found"),
        (PackTier, "read", lambda tier, digest, fresh=False: read_unproved(tier, digest), "wrong bytes"),
    ],
)
def test_the_campaign_notices_a_check_that_is_missing(monkeypatch, owner, name, without, noticed):
    monkeypatch.setattr(owner, name, without)
    assert any(noticed in violation for violation in flips.run(3_000, seed=1).violations)
