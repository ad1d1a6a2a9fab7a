import pytest

from blobs import Digest, DigestInvalid

GOLDEN = "517815aafdab091172373f9cb58039a24faf0d79c863a96c9febea64f5a11aa4"
EMPTY = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"  # published by the BLAKE3 team


def test_digest_of_known_bodies_never_changes():
    assert str(Digest.of(b"")) == EMPTY
    assert str(Digest.of(b"a body")) == GOLDEN


def test_text_and_bytes_lead_back_to_the_same_digest():
    digest = Digest.of(b"a body")
    assert Digest.parse(str(digest)) == digest
    assert Digest(bytes(digest)) == digest
    assert hash(digest) == hash(bytes(digest))


def test_digests_sort_as_their_text_does():
    digests = [Digest.of(bytes([n])) for n in range(50)]
    assert [str(d) for d in sorted(digests)] == sorted(str(d) for d in digests)


def test_repr_is_short_and_str_is_whole():
    digest = Digest.parse(GOLDEN)
    assert repr(digest) == "Digest(517815aafdab…)"
    assert f"{digest}" == GOLDEN


@pytest.mark.parametrize(
    "text", ["", GOLDEN[:-1], GOLDEN + "0", GOLDEN.upper(), GOLDEN[:-1] + "g", GOLDEN + "\n", "٣" * 64]
)
def test_anything_but_64_lowercase_hex_characters_is_refused(text):
    with pytest.raises(DigestInvalid):
        Digest.parse(text)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_anything_but_32_bytes_is_refused(size):
    with pytest.raises(DigestInvalid, match=str(size)):
        Digest(bytes(size))
