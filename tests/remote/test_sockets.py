"""Sockets at paths of any length, and what a process that was killed left of them."""

import socket
import stat

import pytest

from tracestore.errors import StoreUnavailable
from tracestore.remote import sockets


@pytest.fixture(params=["short", "long", "not text"])
def directory(request, tmp_path):
    name = {"short": "s", "long": "a" * 120, "not text": "\udcff" * 90}[request.param]
    path = tmp_path / name / name
    path.mkdir(parents=True)
    return path


def test_a_socket_is_reached_at_a_path_of_any_length(directory):
    with sockets.listen(directory / "socket") as listening, sockets.connect(directory / "socket") as one:
        other, _ = listening.accept()
        with other:
            one.sendall(b"hello")
            assert other.recv(5) == b"hello"
    assert [entry.name for entry in directory.iterdir()] == ["socket"]


def test_nothing_is_left_where_the_short_way_was(directory, tmp_path, monkeypatch):
    short = tmp_path / "t"
    short.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(short))
    with sockets.listen(directory / "socket"):
        sockets.connect(directory / "socket").close()
    assert list(short.iterdir()) == []


def test_a_socket_is_for_its_owner_alone(tmp_path):
    with sockets.listen(tmp_path / "socket"):
        assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == 0o600


def test_a_relative_path_is_reached_too(directory, monkeypatch):
    monkeypatch.chdir(directory.parent)
    relative = (directory / "socket").relative_to(directory.parent)
    with sockets.listen(relative):
        assert sockets.is_answered(relative)


def test_nobody_answers_where_there_is_nothing_a_file_or_what_was_left(tmp_path):
    path = tmp_path / "socket"
    assert not sockets.is_answered(path)
    path.touch()
    assert not sockets.is_answered(path)
    path.unlink()
    sockets.listen(path).close()
    assert path.is_socket()
    assert not sockets.is_answered(path)


def test_what_was_left_makes_way(tmp_path):
    path = tmp_path / "socket"
    sockets.listen(path).close()
    with sockets.listen(path):
        assert sockets.is_answered(path)


def test_a_directory_in_the_way_is_an_error_that_names_it(tmp_path):
    (tmp_path / "socket").mkdir()
    with pytest.raises(StoreUnavailable, match="socket"):
        sockets.listen(tmp_path / "socket")


def test_a_failed_connection_leaves_no_descriptor(tmp_path, monkeypatch):
    made = []
    real = socket.socket

    def noting(*arguments):
        made.append(real(*arguments))
        return made[-1]

    monkeypatch.setattr("socket.socket", noting)
    assert not sockets.is_answered(tmp_path / "socket")
    assert [one.fileno() for one in made] == [-1]
