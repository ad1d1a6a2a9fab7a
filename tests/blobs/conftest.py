"""Places and stores to test; every test that names `backend` or `store` runs over both places."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from blobs import Backend, BlobStore
from blobs.backends import LocalBackend, MemoryBackend


@pytest.fixture(params=["memory", "local"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    opened: Backend = MemoryBackend() if request.param == "memory" else LocalBackend(tmp_path / "blobs")
    yield opened
    opened.close()


@pytest.fixture
def store(backend: Backend) -> BlobStore:
    return BlobStore.over(backend)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where `local` has its directory."""
    return tmp_path / "blobs"


@pytest.fixture
def local(root: Path) -> Iterator[BlobStore]:
    with BlobStore(root) as opened:
        yield opened
