"""A large backlog is read in bounded memory, and beyond 2 GiB."""



from tracestore.journal.chunk import Line
from tracestore.journal.segment import Segment

READ_ALL = """
import sys
from tests.peak_memory import peak_kib
from tracestore.journal.segment import Segment

segment = Segment.open(sys.argv[1])
before_mib = peak_kib() // 1024
offset = lines = 0
while True:
    chunk = segment.read_chunk(offset)
    if chunk.next_offset == offset:
        break
    lines += len(chunk.lines)
    offset = chunk.next_offset
print(lines, offset, peak_kib() // 1024 - before_mib)
"""


def test_a_backlog_of_200_mib_is_read_in_bounded_memory(python, tmp_path):
    """Seed defect `scale`: the whole backlog was read at once, 277 MB of journal took 3.4 GB."""
    path = tmp_path / "backlog.ndjson"
    block = b"".join(b'{"n":%d,"text":"%s"}\n' % (n, b"x" * (n * 37 % 3_000)) for n in range(700))
    copies = 200 * 1024 * 1024 // len(block) + 1
    with path.open("wb") as file:
        for _ in range(copies):
            file.write(block)
    run = python("-c", READ_ALL, path)
    path.unlink()
    lines, offset, grown_mib = map(int, run.stdout.split())
    assert (lines, offset) == (700 * copies, len(block) * copies)
    assert grown_mib < 40


def test_lines_beyond_two_gib_are_read(tmp_path):
    """Seed defect `scale`: above 2 GiB it read nothing, for ever."""
    path = tmp_path / "large.ndjson"
    start = 5 * 1024**3
    with path.open("wb") as file:
        file.seek(start - 1)
        file.write(b"\n{}\n")
    segment = Segment.open(str(path))
    assert segment.read_chunk(start).lines == [Line(start, b"{}")]
    segment.close()
