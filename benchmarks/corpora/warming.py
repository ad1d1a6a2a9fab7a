"""An agent whose idle conversations are kept in the provider's cache: the same request again, every few minutes.

A conversation of two to four turns, minutes to an hour apart. After each turn its last request is sent again until the
next turn, byte for byte, a few times as many as there are real calls::

    turn > step > provider.request      real: true      bodies on the span's open and close, as a tool agent's
    provider.request                    warm: true      without a parent, linked to the call that it repeats

That a warming call wants one token stands in its attribute ``maxTokens``, not in its body, which is the same.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from benchmarks.corpora.journal import Clock, Record, Traffic, hexadecimal, to_json
from benchmarks.corpora.texts import pieces, prose, speech

WARM_EVERY_MS = (220_000, 285_000)
"""Before five minutes are over, which is as long as providers keep a prefix."""
_IDLE_MS = (600_000, 3_600_000)
_TURNS = (2, 5)
_STEPS = (1, 4)
_NAME = "provider.request"
_MODELS = ("claude-sonnet-4", "claude-opus-4")
_TOOLS = ("search", "read_file", "write_file", "run", "remember", "send_message")
_AGENTS = 4
_PROMPT_BYTES = 3_000
_TOOL_BYTES = 500
_RESULT_BYTES = 1_200
_FAILED_SHARE = 0.05
_BYTES_A_TOKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Warming(Traffic):
    """A journal to be; `lines` makes it."""

    story_records: ClassVar[float] = 79.0

    def _story(self, rng: random.Random, ms: int) -> Iterator[Record]:
        return _Conversation(rng, ms).records()


class _Conversation(Clock):
    """Yields the records of one conversation."""

    def __init__(self, rng: random.Random, ms: int) -> None:
        super().__init__(ms)
        self._rng = rng
        self._model = rng.choice(_MODELS)
        self._agent = rng.randrange(_AGENTS)
        self._head = {"extensionId": "agent-host", "conversationId": f"agent-{hexadecimal(rng, 64)}"}
        self._messages: list[str] = []
        self._request = ""
        self._call_id = ""

    def records(self) -> Iterator[Record]:
        """Yield turn after turn, and behind each what keeps the cache warm."""
        rng = self._rng
        for _ in range(rng.randrange(*_TURNS)):
            turn = self._head | {"turnId": hexadecimal(rng, 128)}
            yield from self._turn(turn)
            yield from self._idle(turn, self.ms + rng.randrange(*_IDLE_MS))

    def _turn(self, turn: Record) -> Iterator[Record]:
        rng, begin_ms = self._rng, self.ms
        span = {"spanId": hexadecimal(rng, 64), "name": "turn"}
        self._say("user", {"type": "text", "text": speech(rng, rng.randrange(40, 600))})
        yield self.record("span-open", turn, **span, attributes={"agent": self._agent})
        steps = rng.randrange(*_STEPS)
        for index in range(steps):
            yield from self._step(turn, span["spanId"], index, is_last=index == steps - 1)
        yield self.record("span-close", turn, **span, durationMs=self.ms - begin_ms, status="ok")

    def _step(self, turn: Record, parent: str, index: int, *, is_last: bool) -> Iterator[Record]:
        rng, begin_ms = self._rng, self.ms
        step = turn | {"spanId": hexadecimal(rng, 64), "parentSpanId": parent}
        call = turn | {"spanId": hexadecimal(rng, 64), "parentSpanId": step["spanId"]}
        yield self.record("span-open", step, name="step", attributes={"index": index})
        self._request, self._call_id = self._next_request(), call["spanId"]
        text, tool = speech(rng, rng.randrange(60, 700)), rng.choice(_TOOLS)
        use = {"type": "tool_use", "id": f"toolu_{hexadecimal(rng, 96)}", "name": tool, "input": {"query": text}}
        answer = {"type": "text", "text": text} if is_last else use
        yield from self._call(call, {"real": True}, answer, output_tokens=20 + len(text) // _BYTES_A_TOKEN)
        self._say("assistant", answer)
        if not is_last:
            yield self._ran(step, use)
        yield self.record("span-close", step, name="step", durationMs=self.ms - begin_ms, status="ok")

    def _ran(self, step: Record, use: Record) -> Record:
        rng, tool = self._rng, use["name"]
        result = rng.choice(pieces(_RESULT_BYTES))
        self._say("user", {"type": "tool_result", "tool_use_id": use["id"], "content": result})
        tool_ms = int(rng.lognormvariate(5.0, 1.2))
        self.ms += tool_ms
        is_ok = rng.random() > _FAILED_SHARE
        level, outcome = ("info", "finished") if is_ok else ("warn", "failed")
        ran = {"tool": tool, "ok": is_ok, "resultBytes": len(result), "durationMs": tool_ms}
        return self.record("log", step, level=level, msg=f"tool {tool} {outcome}", attributes=ran)

    def _idle(self, turn: Record, until_ms: int) -> Iterator[Record]:
        """Repeat the last request until the next turn begins."""
        rng = self._rng
        links = [{"spanId": self._call_id, "turnId": turn["turnId"], "reason": "cache-warm"}]
        while (next_ms := self.ms + rng.randrange(*WARM_EVERY_MS)) < until_ms:
            self.ms = next_ms
            call = turn | {"spanId": hexadecimal(rng, 64), "links": links}
            token = {"type": "text", "text": rng.choice(("I", "The", "Let"))}
            yield from self._call(call, {"warm": True, "maxTokens": 1}, token, output_tokens=1)
        self.wait_until(until_ms)

    def _call(self, call: Record, reason: Record, answer: Record, *, output_tokens: int) -> Iterator[Record]:
        """Send the request that is at hand."""
        rng, size_bytes = self._rng, len(self._request)
        asked = {"model": self._model, "provider": "anthropic", "endpoint": "/v1/messages", "requestBytes": size_bytes}
        yield self.record("span-open", call, name=_NAME, attributes=asked | reason, body=self._request)
        wait_ms = rng.randrange(400, 900) + output_tokens * rng.randrange(9, 20)
        self.ms += wait_ms
        is_known = "warm" in reason or len(self._messages) > 1
        known = (size_bytes - len(self._messages[-1])) // _BYTES_A_TOKEN if is_known else 0
        new = size_bytes // _BYTES_A_TOKEN - known
        usage = {"input_tokens": new, "cache_read_input_tokens": known, "output_tokens": output_tokens}
        message = {"id": f"msg_{hexadecimal(rng, 96)}", "type": "message", "role": "assistant", "model": self._model}
        body = to_json(message | {"content": [answer], "usage": usage})
        answered = {"model": self._model, "httpStatus": 200, "inputTokens": new + known}
        answered |= {"outputTokens": output_tokens, "cacheReadTokens": known}
        head = {key: value for key, value in call.items() if key != "links"}
        yield self.record(
            "span-close", head, name=_NAME, durationMs=wait_ms, status="ok", attributes=answered | reason, body=body
        )

    def _next_request(self) -> str:
        messages = ",".join(self._messages)
        return f'{{"model":"{self._model}","system":{_system(self._agent)},"tools":{_tools()},"messages":[{messages}]}}'

    def _say(self, role: str, block: Record) -> None:
        self._messages.append(to_json({"role": role, "content": [block]}))


@lru_cache(maxsize=_AGENTS)
def _system(agent: int) -> str:
    return to_json(f"You are an agent.\n\n{prose(random.Random(f'agent {agent}'), _PROMPT_BYTES)}")


@lru_cache(maxsize=1)
def _tools() -> str:
    rng = random.Random("warming")
    schema = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
    tools = ({"name": name, "description": prose(rng, _TOOL_BYTES), "input_schema": schema} for name in _TOOLS)
    return to_json(list(tools))
