"""Everything blobs raises; one root.

Leaf classes also inherit the builtin a caller would expect, carry their facts as fields, and
end their message with what to do next. `OSError` never leaves this package bare: a backend
translates it into `BlobsUnavailable`, which keeps the errno.
"""


class BlobError(Exception):
    """Root of every error of this package."""


class BlobNotFound(BlobError, KeyError):
    """No blob of this digest is stored."""

    def __init__(self, digest: bytes, where: str) -> None:
        super().__init__(digest, where)
        self.digest = digest
        self.where = where

    def __str__(self) -> str:
        # KeyError would print the repr of its argument, quotes and all.
        return f"no blob {self.digest!s} in {self.where}; it was never put, was swept, or needs a restore from backup"


class BlobCorrupt(BlobError, ValueError):
    """Stored bytes are not what was put; `wanted` and `found` say how they differ."""

    def __init__(self, wanted: str, found: str, digest: bytes | None = None, where: str = "") -> None:
        super().__init__(wanted, found, digest, where)
        self.wanted = wanted
        self.found = found
        self.digest = digest
        self.where = where

    def __str__(self) -> str:
        name = "stored bytes" if self.digest is None else f"blob {self.digest!s}"
        place = f" at {self.where}" if self.where else ""
        return (
            f"{name}{place} damaged: wanted {self.wanted}, found {self.found}; "
            "quarantine it, then put the body again or restore it from a backup"
        )


class BlobTooLarge(BlobError, ValueError):
    """A body is larger than a blob may be."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(size_bytes, limit_bytes)
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes

    def __str__(self) -> str:
        return f"a body of {self.size_bytes} bytes is over the limit of {self.limit_bytes}; split it before it is put"


class DigestInvalid(BlobError, ValueError):
    """Something is not a digest: not 32 bytes, or not 64 lowercase hex characters."""


class FormatUnknown(BlobError):
    """A directory is no blob store, or one of a format this release cannot read."""


class BlobsUnavailable(BlobError, OSError):
    """The place the blobs live in failed: disk full, no permission, an I/O error. Keeps the errno."""


class SweepRefused(BlobError):
    """A sweep would delete more than its plan can account for; `reasons` lists why."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__(reasons)
        self.reasons = reasons

    def __str__(self) -> str:
        return f"sweep refused: {'; '.join(self.reasons)}. Run verify to see what is wrong, or force the sweep"
