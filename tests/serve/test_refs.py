"""Files that a request names: read below an allowed directory, nowhere else."""

import os

import pytest

from tracestore.serve import refs
from tracestore.serve.refs import AllowedFiles


@pytest.fixture
def allowed(tmp_path):
    directory = tmp_path / "allowed"
    (directory / "deep").mkdir(parents=True)
    (directory / "deep" / "body.json").write_bytes(b'{"a": "\xff"}')
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "allowed-not").mkdir()
    (tmp_path / "allowed-not" / "body").write_bytes(b"secret")
    return directory


def test_a_file_below_an_allowed_directory_is_read_as_it_is(allowed, tmp_path):
    read = AllowedFiles([tmp_path / "elsewhere", allowed])
    assert read(str(allowed / "deep" / "body.json")) == b'{"a": "\xff"}'
    assert read(f"{allowed}/deep/../deep/./body.json") == b'{"a": "\xff"}'


def test_without_directories_nothing_is_read(allowed):
    assert AllowedFiles([])(str(allowed / "deep" / "body.json")) is None


@pytest.mark.parametrize(
    "path",
    [
        "{allowed}/../secret",
        "{allowed}/deep/../../secret",
        "{allowed}-not/body",
        "{allowed}/missing",
        "{allowed}/deep",
        "{allowed}",
        "{allowed}/deep/body.json/further",
        "deep/body.json",
        "/etc/passwd",
        "file://{allowed}/deep/body.json",
        "{allowed}/deep/body.json\0",
        "{allowed}/\ud83d",
        "",
        "{allowed}/" + "x" * 5000,
    ],
)
def test_what_is_not_a_file_below_it_is_not_read(allowed, monkeypatch, path):
    monkeypatch.chdir(allowed)
    assert AllowedFiles([allowed])(path.replace("{allowed}", str(allowed))) is None


def test_a_link_out_is_not_followed(allowed, tmp_path):
    (allowed / "file").symlink_to(tmp_path / "secret")
    (allowed / "directory").symlink_to(tmp_path)
    read = AllowedFiles([allowed])
    assert read(str(allowed / "file")) is None
    assert read(str(allowed / "directory" / "secret")) is None


def test_a_link_that_stays_inside_is_read(allowed):
    (allowed / "file").symlink_to(allowed / "deep" / "body.json")
    assert AllowedFiles([allowed])(str(allowed / "file")) == b'{"a": "\xff"}'


def test_an_allowed_directory_may_be_named_by_a_link(allowed, tmp_path):
    (tmp_path / "link").symlink_to(allowed)
    assert AllowedFiles([tmp_path / "link"])(str(tmp_path / "link" / "deep" / "body.json")) == b'{"a": "\xff"}'


@pytest.mark.parametrize("exchanged", ["deep", "deep/body.json"])
def test_a_link_put_there_between_the_look_and_the_opening_is_not_followed(allowed, tmp_path, monkeypatch, exchanged):
    (tmp_path / "body.json").write_bytes(b"secret")
    path = allowed / "deep" / "body.json"
    read = AllowedFiles([allowed])
    real_path = os.path.realpath

    def look_then_exchange(name, **options):
        resolved = real_path(name, **options)
        (allowed / exchanged).rename(tmp_path / "away")
        (allowed / exchanged).symlink_to(tmp_path if exchanged == "deep" else tmp_path / "body.json")
        return resolved

    monkeypatch.setattr(os.path, "realpath", look_then_exchange)
    assert read(str(path)) is None


def test_a_pipe_is_not_waited_for(allowed):
    os.mkfifo(allowed / "pipe")
    assert AllowedFiles([allowed])(str(allowed / "pipe")) is None


def test_a_body_of_the_limit_is_read_and_a_larger_one_is_not(allowed, monkeypatch):
    monkeypatch.setattr(refs, "BODY_LIMIT_BYTES", 10)
    (allowed / "fits").write_bytes(b"0123456789")
    (allowed / "larger").write_bytes(b"0123456789x")
    read = AllowedFiles([allowed])
    assert read(str(allowed / "fits")) == b"0123456789"
    assert read(str(allowed / "larger")) is None


def test_a_file_that_grows_over_the_limit_while_it_is_read_is_not_cut(allowed, monkeypatch):
    monkeypatch.setattr(refs, "BODY_LIMIT_BYTES", 10)
    path = allowed / "growing"
    path.write_bytes(b"0123456789")
    real_read = os.read

    def grow(fd, size_bytes):
        os.truncate(path, 11)
        return real_read(fd, size_bytes)

    monkeypatch.setattr(os, "read", grow)
    assert AllowedFiles([allowed])(str(path)) is None


def test_no_descriptor_stays_open(allowed):
    read = AllowedFiles([allowed])
    before = os.listdir("/proc/self/fd")
    for name in ("deep/body.json", "deep", "missing"):
        read(str(allowed / name))
    assert len(os.listdir("/proc/self/fd")) == len(before)
