"""What applications write passes the strictest type check, with clients of both kinds of httpx."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

PROGRAM = """
import logging

from tracestore.capture import (
    KNOWN_SECRETS, CaptureTransport, AsyncCaptureTransport, Clock, JournalHandler, Recorder, Redaction, Secret, Span,
    carried, current_span,
)

recorder = Recorder(
    "journal", extension_id="app", conversation_id="c", turn_id="t", in_context=True, fsync="none", is_direct=True,
    redaction=Redaction(fields=["email"], secrets=[*KNOWN_SECRETS, Secret("acme_", "[a-z]{20}")]),
    queue_bytes=1000, clock=Clock(now_ns=lambda: 1), new_id=lambda size_bytes: "00" * size_bytes,
)
with recorder.child(conversation_id="c", parent_span_id="s").span("turn", {"user": "u-1"}, body="?") as span:
    with span.child("tool.call", {"tool": "search", "n": 1}, body={"messages": []}) as call:
        call.end(ValueError("no"), {"found": 0}, b"none")
    span.info("answered", tokens=1764)
    span.log("slow", "warn", body=["why"])
    span.set_attributes({"cost": 0.5}, outcome="ok")
    span.add_link("s", "t", reason="retries")
    ids: tuple[str, str, str | None] = span.span_id, span.turn_id, span.conversation_id
logging.getLogger().addHandler(JournalHandler(span, logging.INFO))

@carried
def repeated(text: str, *, times: int) -> str:
    return text * times

text: str = repeated("a", times=2)
inside: Span | None = current_span()
if recorder.flush(1.0) and recorder.close():
    print(recorder.dropped.get("disk"))
"""

CLIENTS = """
import LIBRARY
LIBRARY.Client(transport=CaptureTransport(recorder))
LIBRARY.Client(transport=CaptureTransport(span, wrapped=LIBRARY.HTTPTransport()))
LIBRARY.AsyncClient(transport=AsyncCaptureTransport(recorder))
"""


def test_a_program_that_uses_all_of_capture_passes_the_strictest_type_check(tmp_path):
    pytest.importorskip("mypy")
    pytest.importorskip("httpx")
    pytest.importorskip("httpx2")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM + "".join(CLIENTS.replace("LIBRARY", library) for library in ("httpx", "httpx2")))
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", tmp_path / "cache", program]
    checked = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert checked.returncode == 0, checked.stdout
