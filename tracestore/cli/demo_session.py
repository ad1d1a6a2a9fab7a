"""A session of a coding agent, recorded as its application would record it.

Four turns of one conversation: each request to the model resends the whole history, as real ones
do; the cache is kept warm with an exact resend; a tool fails; in the last turn the process dies, so
that its spans never close. The text is the same in every run. Files that the agent reads are
modules of this package, so that bodies look and compress like real ones.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from tracestore.capture import Clock, Recorder, Span
from tracestore.cli.demo_texts import LISTING, SYSTEM, TEST_REPORT_BAD, TEST_REPORT_GOOD, TOOLS

LARGE, SMALL = "example-large", "example-small"
SESSION_MS = 10 * 60_000
CHARACTERS_PER_TOKEN = 4
_NS_PER_MS = 1_000_000


class DemoSession:
    """Records the session into ``journal`` on a clock of its own, which ends near ``now_ms``."""

    def __init__(self, journal: Path, now_ms: int) -> None:
        self._clock_ms = now_ms - SESSION_MS
        self.conversation_id = f"demo-{self._clock_ms:x}"
        self._messages: list[dict[str, Any]] = []
        self._turns = 0
        self._last_request: tuple[Span, str] | None = None
        clock = Clock(self._now_ns, self._now_ns)
        with Recorder(
            journal, extension_id="demo-agent", conversation_id=self.conversation_id, clock=clock
        ) as self._recorder:
            self._find_the_cause()
            self._mend_it()
            self._write_it_down()
            self._go_too_far()

    def turn_id(self, number: int) -> str:
        """Return the id of a turn, counted from 1."""
        return f"{self.conversation_id}-{number}"

    def _find_the_cause(self) -> None:
        with self._turn(
            "Since yesterday the tests of the units module fail on CI. Find out why; change nothing yet."
        ) as turn:
            self._step(turn, 2_140, "list_files", LISTING, 38, path="tracestore")
            self._read(turn, 1_730, "units.py", "errors.py", "record/line.py", "record/kinds.py", "record/stored.py")
            self._read(turn, 1_950, "views/easy.py", "views/event.py", "views/printable.py", "store/store.py")
            self._step(turn, 1_480, "run_tests", TEST_REPORT_BAD, 9_310, failed=True, target="tests/test_units.py")
            with turn.child("step") as step:
                self._request(
                    step,
                    _says(
                        "The test expects 59,999 ms to print as 1m0s, and it prints as 60.0s: the seconds are rounded"
                        " before they roll over. CI fails since yesterday because the test is from yesterday."
                    ),
                    took_ms=3_920,
                )
            title = "Seconds round before rolling over"
            self._ask_small_model(turn, "Title this conversation in five words.", title, 610)

    def _mend_it(self) -> None:
        with self._turn("Good. Mend it, and run the tests again.") as turn:
            self._keep_cache_warm(turn, took_ms=890)
            self._read(turn, 2_310, "journal/follow.py", "journal/writer.py", "journal/rejects.py")
            self._step(turn, 2_860, "edit_file", "no such file: unit.py", 6, failed=True, path="unit.py")
            turn.warn("the model named a file that is not there; the error goes back to it")
            self._step(turn, 2_310, "edit_file", "1 line changed", 9, path="units.py")
            self._step(turn, 1_390, "run_tests", TEST_REPORT_GOOD, 8_760, target="tests/test_units.py")
            with turn.child("step") as step:
                done = _says("Done: tenths are rounded before the unit is chosen. All tests pass.")
                self._request(step, done, took_ms=870)

    def _write_it_down(self) -> None:
        with self._turn("Write the entry for the changelog.") as turn:
            self._keep_cache_warm(turn, took_ms=930)
            with turn.child("step") as step:
                entry = _says("- A duration just below a minute prints as 1m0s, not as 60.0s.")
                self._request(step, entry, took_ms=1_620)

    def _go_too_far(self) -> None:
        """Record what a process left that died: the spans that were open then never close."""
        turn = self._turn("While you are at it: move everything else onto the units module, too.")
        self._keep_cache_warm(turn, took_ms=880)
        self._read(
            turn, 2_450, "collector/collector.py", "ingest.py", "maintenance/prune.py", "maintenance/verify.py"
        )
        step = turn.child("step")
        self._request(step, _calls("run_tests", target="tests"), took_ms=3_180)
        step.info("running the whole suite")
        step.child("tool.call", {"tool": "run_tests", "target": "tests"})

    def _turn(self, text: str) -> Span:
        self._turns += 1
        self._pass_ms(45_000)
        self._messages.append({"role": "user", "content": text})
        turn = self._recorder.child(turn_id=self.turn_id(self._turns)).span("turn")
        turn.info("user message", body=text)
        return turn

    def _step(
        self, turn: Span, thinking_ms: int, tool: str, result: str, took_ms: int, failed: bool = False, **arguments: str
    ) -> None:
        """Let the model call a tool, and take the result into the history."""
        with turn.child("step") as step:
            self._request(step, _calls(tool, **arguments), took_ms=thinking_ms)
            with step.child("tool.call", {"tool": tool, **arguments}) as call:
                self._pass_ms(took_ms)
                call.end(error=failed, body=result)
            answer = {"type": "tool_result", "content": result, "is_error": failed}
            self._messages.append({"role": "user", "content": [answer]})

    def _read(self, turn: Span, thinking_ms: int, *modules: str) -> None:
        package = files("tracestore")
        parts = (f"==> {module}\n{package.joinpath(module).read_text(encoding='utf-8')}" for module in modules)
        self._step(turn, thinking_ms, "read_files", "\n".join(parts), 12, paths=" ".join(modules))

    def _request(self, step: Span, answer: list[dict[str, Any]], *, took_ms: int) -> None:
        body = _json({"model": LARGE, "max_tokens": 8192, "system": SYSTEM, "tools": TOOLS, "messages": self._messages})
        span = self._call_model(step, LARGE, body, answer, took_ms)
        self._last_request = span, body
        self._messages.append({"role": "assistant", "content": answer})

    def _keep_cache_warm(self, turn: Span, took_ms: int) -> None:
        """Send the last request again, byte for byte, so that the provider's cache does not expire."""
        if self._last_request is not None:
            earlier, body = self._last_request
            span = self._call_model(turn, LARGE, body, _says("."), took_ms, warms=earlier)
            self._last_request = span, body

    def _ask_small_model(self, turn: Span, question: str, answer: str, took_ms: int) -> None:
        body = _json({"model": SMALL, "max_tokens": 32, "messages": [{"role": "user", "content": question}]})
        self._call_model(turn, SMALL, body, _says(answer), took_ms)

    def _call_model(
        self,
        parent: Span,
        model: str,
        body: str,
        answer: list[dict[str, Any]],
        took_ms: int,
        warms: Span | None = None,
    ) -> Span:
        """Record a call as `tracestore.capture.CaptureTransport` would; ``warms`` is the call it repeats."""
        about = {"model": model, "provider": "example", "requestBytes": len(body.encode())}
        with parent.child("provider.request", about, body) as span:
            if warms is not None:
                span.add_link(warms.span_id, warms.turn_id, "cache warming")
            input_tokens = len(body) // CHARACTERS_PER_TOKEN
            known = len(self._last_request[1]) // CHARACTERS_PER_TOKEN if self._last_request and model == LARGE else 0
            usage = {
                "inputTokens": input_tokens,
                "outputTokens": len(_json(answer)) // CHARACTERS_PER_TOKEN,
                "cacheReadTokens": min(known, input_tokens),
            }
            self._pass_ms(took_ms)
            response = _json({"model": model, "role": "assistant", "content": answer, "usage": usage})
            span.end(attributes=usage, body=response)
        return span

    def _now_ns(self) -> int:
        return self._clock_ms * _NS_PER_MS

    def _pass_ms(self, duration_ms: int) -> None:
        self._clock_ms += duration_ms


def _says(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}]


def _calls(tool: str, **arguments: str) -> list[dict[str, Any]]:
    return [{"type": "tool_use", "name": tool, "input": arguments}]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
