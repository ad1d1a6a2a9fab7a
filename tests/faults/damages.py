"""What a disk, a copy gone wrong or a person does to the bytes of a file; and bodies to do it to."""

import random
from collections.abc import Callable


def body(rng: random.Random, size_bytes: int) -> bytes:
    """Return random text, so that the compressed form is of that order of size, or text that repeats itself."""
    text = rng.randbytes(size_bytes // 2 + 1).hex().encode()[:size_bytes]
    return rng.choice([text, text, (text[:50] * size_bytes)[:size_bytes]])


def flip_a_bit(rng: random.Random, whole: bytes) -> bytes:
    return flip_bits(rng, whole, 1)


def flip_bits(rng: random.Random, whole: bytes, bits: int = 0) -> bytes:
    damaged = bytearray(whole)
    for bit in rng.sample(range(8 * len(whole)), bits or rng.randrange(2, 30)):
        damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def truncate(rng: random.Random, whole: bytes) -> bytes:
    return whole[: rng.choice([0, 1, len(whole) // 2, len(whole) - 1, rng.randrange(len(whole))])]


def zero_the_tail(rng: random.Random, whole: bytes) -> bytes:
    kept = rng.choice([0, len(whole) // 4096 * 4096, rng.randrange(len(whole))])
    return whole[:kept] + bytes(len(whole) - kept)


def zero_a_range(rng: random.Random, whole: bytes) -> bytes:
    start, end = sorted((rng.randrange(len(whole)), rng.randrange(len(whole) + 1)))
    return whole[:start] + bytes(end - start) + whole[end:]


def append(rng: random.Random, whole: bytes) -> bytes:
    return whole + rng.choice([b"\0", b"\0" * 4096, rng.randbytes(9), whole])


def lose_a_range(rng: random.Random, whole: bytes) -> bytes:
    start, end = sorted((rng.randrange(len(whole)), rng.randrange(len(whole) + 1)))
    return whole[:start] + whole[end:]


DAMAGES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "a flipped bit": flip_a_bit,
    "flipped bits": flip_bits,
    "a truncation": truncate,
    "a zeroed tail": zero_the_tail,
    "a zeroed range": zero_a_range,
    "bytes behind it": append,
    "a lost range": lose_a_range,
}
