"""A session of a coding agent, as its application would have recorded it.

Four turns of one conversation: each request to the model resends the whole history, as real ones
do; the cache is kept warm with an exact resend; a tool fails; in the last turn the process dies, so
that its spans never close. The text is the same in every run. Files that the agent reads are
modules of this package, so that bodies look and compress like real ones.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, TypeAlias

from tracestore.cli.demo_texts import LISTING, SYSTEM, TEST_REPORT_BAD, TEST_REPORT_GOOD, TOOLS
from tracestore.record import LogRecord, Record, SpanClose, SpanOpen, encode_line, members_of

LARGE, SMALL = "example-large", "example-small"
SESSION_MS = 10 * 60_000
CHARACTERS_PER_TOKEN = 4

_Attribute: TypeAlias = str | int | float | bool | None
_Link: TypeAlias = dict[str, _Attribute]


class _ProcessDied(Exception):
    """What the application never lived to record."""


@dataclass(slots=True)
class _OpenSpan:
    """A span that is open; what its close will say is filled in meanwhile."""

    opened: SpanOpen
    started_ms: int
    attributes: dict[str, _Attribute] | None = None
    body: str | None = None
    status: Literal["ok", "error"] = "ok"


class DemoSession:
    """Builds the session's records on a clock of its own, which ends near ``now_ms``."""

    def __init__(self, now_ms: int) -> None:
        self._clock_ms = now_ms - SESSION_MS
        self._name = f"{self._clock_ms:x}"
        self.conversation_id = f"demo-{self._name}"
        self.records: list[Record] = []
        self._messages: list[dict[str, Any]] = []
        self._turns = self._spans = 0
        self._open: list[str] = []
        self._last_request = ("", "")
        self._find_the_cause()
        self._mend_it()
        self._write_it_down()
        with suppress(_ProcessDied):
            self._go_too_far()

    def lines(self) -> list[bytes]:
        """Return the session as journal lines."""
        return [encode_line(members_of(record)) for record in self.records]

    def turn_id(self, number: int) -> str:
        """Return the id of a turn, counted from 1."""
        return f"{self.conversation_id}-{number}"

    def _find_the_cause(self) -> None:
        with self._turn("Since yesterday the tests of the units module fail on CI. Find out why; change nothing yet."):
            self._step(2_140, "list_files", LISTING, 38, path="tracestore")
            self._read(1_730, "units.py", "errors.py", "record/line.py", "record/kinds.py", "record/stored.py")
            self._read(1_950, "views/easy.py", "views/event.py", "views/printable.py", "store/store.py")
            self._step(1_480, "run_tests", TEST_REPORT_BAD, 9_310, failed=True, target="tests/test_units.py")
            with self._span("step"):
                self._request(
                    _says(
                        "The test expects 59,999 ms to print as 1m0s, and it prints as 60.0s: the seconds are rounded"
                        " before they roll over. CI fails since yesterday because the test is from yesterday."
                    ),
                    took_ms=3_920,
                )
            self._ask_small_model("Title this conversation in five words.", "Seconds round before rolling over", 610)

    def _mend_it(self) -> None:
        with self._turn("Good. Mend it, and run the tests again."):
            self._keep_cache_warm(took_ms=890)
            self._read(2_310, "journal/follow.py", "journal/writer.py", "journal/rejects.py")
            self._step(2_860, "edit_file", "no such file: unit.py", 6, failed=True, path="unit.py")
            self._log("warn", "the model named a file that is not there; the error goes back to it")
            self._step(2_310, "edit_file", "1 line changed", 9, path="units.py")
            self._step(1_390, "run_tests", TEST_REPORT_GOOD, 8_760, target="tests/test_units.py")
            with self._span("step"):
                self._request(_says("Done: tenths are rounded before the unit is chosen. All tests pass."), took_ms=870)

    def _write_it_down(self) -> None:
        with self._turn("Write the entry for the changelog."):
            self._keep_cache_warm(took_ms=930)
            with self._span("step"):
                self._request(_says("- A duration just below a minute prints as 1m0s, not as 60.0s."), took_ms=1_620)

    def _go_too_far(self) -> None:
        with self._turn("While you are at it: move everything else onto the units module, too."):
            self._keep_cache_warm(took_ms=880)
            self._read(2_450, "collector/collector.py", "ingest.py", "maintenance/prune.py", "maintenance/verify.py")
            with self._span("step"):
                self._request(_calls("run_tests", target="tests"), took_ms=3_180)
                self._log("info", "running the whole suite")
                with self._span("tool.call", tool="run_tests", target="tests"):
                    raise _ProcessDied

    @contextmanager
    def _turn(self, text: str) -> Iterator[None]:
        self._turns += 1
        self._pass_ms(45_000)
        self._messages.append({"role": "user", "content": text})
        with self._span("turn"):
            self._log("info", "user message", body=text)
            yield

    @contextmanager
    def _span(self, name: str, **attributes: _Attribute) -> Iterator[_OpenSpan]:
        """Open a span, and close it unless the process dies."""
        self._spans += 1
        opened = SpanOpen(
            span_id=f"{self._name}-{self._spans:02}", name=name, attributes=attributes, **self._place(self._parent)
        )
        span = _OpenSpan(opened, self._clock_ms)
        self.records.append(opened)
        self._open.append(opened.span_id)
        self._pass_ms(1)
        yield span
        self._open.pop()
        self.records.append(
            SpanClose(
                span_id=opened.span_id,
                name=name,
                duration_ms=self._clock_ms - span.started_ms,
                status=span.status,
                attributes=span.attributes,
                body=span.body,
                **self._place(self._parent),
            )
        )

    def _step(
        self, thinking_ms: int, tool: str, result: str, took_ms: int, failed: bool = False, **arguments: _Attribute
    ) -> None:
        """Let the model call a tool, and take the result into the history."""
        with self._span("step"):
            self._request(_calls(tool, **arguments), took_ms=thinking_ms)
            with self._span("tool.call", tool=tool, **arguments) as span:
                self._pass_ms(took_ms)
                span.body, span.status = result, "error" if failed else "ok"
            answer = {"type": "tool_result", "content": result, "is_error": failed}
            self._messages.append({"role": "user", "content": [answer]})

    def _read(self, thinking_ms: int, *modules: str) -> None:
        package = files("tracestore")
        parts = (f"==> {module}\n{package.joinpath(module).read_text(encoding='utf-8')}" for module in modules)
        self._step(thinking_ms, "read_files", "\n".join(parts), 12, paths=" ".join(modules))

    def _request(self, answer: list[dict[str, Any]], *, took_ms: int) -> None:
        body = _json({"model": LARGE, "max_tokens": 8192, "system": SYSTEM, "tools": TOOLS, "messages": self._messages})
        self._call_model(LARGE, body, answer, took_ms)
        self._messages.append({"role": "assistant", "content": answer})

    def _keep_cache_warm(self, took_ms: int) -> None:
        """Send the last request again, byte for byte, so that the provider's cache does not expire."""
        span_id, body = self._last_request
        link: _Link = {"spanId": span_id, "turnId": self.turn_id(self._turns - 1), "reason": "cache warming"}
        self._call_model(LARGE, body, _says("."), took_ms, link)

    def _ask_small_model(self, question: str, answer: str, took_ms: int) -> None:
        body = _json({"model": SMALL, "max_tokens": 32, "messages": [{"role": "user", "content": question}]})
        self._call_model(SMALL, body, _says(answer), took_ms)

    def _call_model(
        self, model: str, body: str, answer: list[dict[str, Any]], took_ms: int, link: _Link | None = None
    ) -> None:
        with self._span("provider.request", model=model, provider="example", requestBytes=len(body.encode())) as span:
            span.opened.body = body
            span.opened.links = [link] if link else None
            input_tokens = len(body) // CHARACTERS_PER_TOKEN
            cached = len(self._last_request[1]) // CHARACTERS_PER_TOKEN if model == LARGE else 0
            usage: dict[str, _Attribute] = {
                "inputTokens": input_tokens,
                "outputTokens": len(_json(answer)) // CHARACTERS_PER_TOKEN,
                "cacheReadTokens": min(cached, input_tokens),
            }
            span.attributes = usage
            span.body = _json({"model": model, "role": "assistant", "content": answer, "usage": usage})
            self._pass_ms(took_ms)
            if model == LARGE:
                self._last_request = span.opened.span_id, body

    def _log(self, level: Literal["info", "warn"], msg: str, body: str | None = None) -> None:
        self.records.append(LogRecord(level=level, msg=msg, span_id=self._parent, body=body, **self._place(None)))

    @property
    def _parent(self) -> str | None:
        return self._open[-1] if self._open else None

    def _place(self, parent: str | None) -> dict[str, Any]:
        """Say when and where a record is."""
        return {
            "timestamp": self._clock_ms,
            "extension_id": "demo-agent",
            "conversation_id": self.conversation_id,
            "turn_id": self.turn_id(self._turns),
            "parent_span_id": parent,
        }

    def _pass_ms(self, duration_ms: int) -> None:
        self._clock_ms += duration_ms


def _says(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}]


def _calls(tool: str, **arguments: _Attribute) -> list[dict[str, Any]]:
    return [{"type": "tool_use", "name": tool, "input": arguments}]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
