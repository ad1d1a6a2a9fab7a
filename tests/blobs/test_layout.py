import pytest
from hypothesis import given
from hypothesis import strategies as some

from blobs import Digest, FormatUnknown, layout

DIGEST = Digest.of(b"a body")


def test_a_blob_lies_in_the_directory_of_its_first_two_characters():
    assert layout.blob_path(DIGEST) == f"objects/51/{DIGEST}.gz"
    assert layout.shard_of(DIGEST) == "51"


@given(some.binary(min_size=32, max_size=32).map(Digest))
def test_a_file_name_leads_back_to_its_digest(digest):
    assert layout.parse_blob_name(layout.blob_name(digest)) == digest
    assert layout.blob_path(digest).endswith(f"{layout.shard_of(digest)}/{layout.blob_name(digest)}")


@pytest.mark.parametrize(
    "name",
    ["", f"{DIGEST}", f"{DIGEST}.gz.tmp", f"{DIGEST}.GZ", f"{DIGEST}.gz\n", f".{DIGEST}.gz", f"{DIGEST}.gz".upper()],
)
def test_an_odd_name_is_no_blob(name):
    assert layout.parse_blob_name(name) is None


def test_shards_are_two_lowercase_hex_characters():
    assert layout.is_shard_name("0f")
    assert not any(map(layout.is_shard_name, ["", "0", "0F", "0g", "000", "..", "0f\n"]))


def test_format_is_what_every_release_will_look_for():
    assert layout.format_text() == b'{"format":1,"digest":"blake3-256","requires":[]}\n'
    layout.check_format(layout.format_text())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"\xff\xfe",
        b"{}",
        b'{"format":2,"digest":"blake3-256","requires":[]}',
        b'{"format":true,"digest":"blake3-256","requires":[]}',
        b'{"format":1,"digest":"sha-256","requires":[]}',
        b'{"format":1,"digest":"blake3-256"}',
        b'{"format":1,"digest":"blake3-256","requires":["packs-2"]}',
    ],
)
def test_a_format_that_is_not_known_is_refused(text):
    with pytest.raises(FormatUnknown, match="wanted format 1"):
        layout.check_format(text)
