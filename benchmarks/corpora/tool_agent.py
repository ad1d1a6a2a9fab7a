"""Journals of any size: a tool agent's turns, deterministic, streamed.

The shape is that of short code-running chats: a turn of one to six steps, each step one provider
call and one tool; about 20 records a turn, two bodies a call, every request resends the messages
before it::

    turn > step > provider.request     request body on the span's open, response body on its close

Bodies are made of the standard library's source, so nothing has to be shipped or fetched. The same
options and the same Python give the same bytes. A turn is the most that is ever in memory, but for
a small window in which overlapping turns are brought into order of time.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from benchmarks.corpora.journal import DAY_MS, START_MS, WEEK_DAYS, write_lines
from benchmarks.corpora.texts import pieces

RECORDS_A_TURN = 19.5
BODIES_A_TURN = 7.0
BATCH_LINES = 500
"""Lines of the small batches in which a live application's records arrive."""

_WINDOW_TURNS = 64
_SYSTEM_PROMPTS = 8
_MODELS = ("gpt-4o-mini", "claude-sonnet-4", "gpt-3.5-turbo-0613", "llama-3-70b-chat")
_TOOLS = ("python", "search", "read_file", "write_file")

_Timed = tuple[int, int, str]
"""Milliseconds, place within the window, line."""


@dataclass(frozen=True, slots=True)
class _Text:
    """A piece of prose or code as it stands in a body inside a journal line: escaped twice."""

    escaped: str
    size_bytes: int
    """Its size in the body, where it is escaped once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAgent:
    """A journal to be; `lines` makes it."""

    records: int
    seed: int = 1
    start_ms: int = START_MS
    days: float = WEEK_DAYS
    body_share: float = 0.0
    """Share of the turns whose provider calls carry bodies."""
    message_bytes: int = 1_000
    late_every: int = 0
    """Make every so-manieth record one that happened any time since ``late_from_ms``."""
    late_from_ms: int = START_MS
    outcomes: bool = False
    """Say of a failed tool that it is an error, and of a call how much of its prompt was cached."""

    @property
    def end_ms(self) -> int:
        """When the last turn starts, about."""
        return self.start_ms + int(self.days * DAY_MS)

    def lines(self) -> Iterator[str]:
        """Yield the lines in order of time, without their newlines."""
        lines = self._in_order()
        if self.late_every:
            lines = self._with_late(lines)
        for _, line in zip(range(self.records), lines, strict=False):
            yield line

    def write(self, path: Path) -> Path:
        """Write the journal; returns its path."""
        return write_lines(path, self.lines())

    def _in_order(self) -> Iterator[str]:
        rng = random.Random(f"{self.seed} {self.records}")
        turns = max(1, int(self.records / RECORDS_A_TURN))
        spacing_ms = self.days * DAY_MS / turns
        pending: list[_Timed] = []
        number = 0
        while True:
            for _ in range(_WINDOW_TURNS):
                start_ms = self.start_ms + int(number * spacing_ms)
                _Turn(pending, rng, number, start_ms, self).write()
                number += 1
            pending.sort()
            next_start_ms = self.start_ms + int(number * spacing_ms)
            ready = next((i for i, (ms, _, _) in enumerate(pending) if ms >= next_start_ms), len(pending))
            for _, _, line in pending[:ready]:
                yield line
            del pending[:ready]

    def _with_late(self, lines: Iterator[str]) -> Iterator[str]:
        rng = random.Random(f"late {self.seed}")
        spacing_ms = self.days * DAY_MS / self.records
        for number, line in enumerate(lines, 1):
            yield line
            if number % (self.late_every - 1) == 0:
                ms = rng.randrange(self.late_from_ms, self.start_ms + int(number * spacing_ms) + 1)
                yield (
                    f'{{"kind":"log","timestamp":{ms},"extensionId":"late","turnId":"{rng.getrandbits(64):016x}",'
                    f'"level":"warn","msg":"upload was late","attributes":{{"attempt":{rng.randrange(9)}}}}}'
                )


class _Turn:
    """Writes the lines of one turn, its clock running."""

    def __init__(self, into: list[_Timed], rng: random.Random, number: int, ms: int, asked: ToolAgent) -> None:
        self._into = into
        self._rng = rng
        self._ms = self._begin_ms = ms
        turn, self._root = f"{rng.getrandbits(64):016x}", f"{rng.getrandbits(64):016x}"
        self._model = _MODELS[number % len(_MODELS)]
        conversation = f"agent-{self._model}-{number % 37}-{number // 3}"
        self._head = f'"extensionId":"provider-openai","conversationId":"{conversation}","turnId":"{turn}"'
        self._talk = _Talk(asked.message_bytes, rng, turn, self._model) if rng.random() < asked.body_share else None
        self._outcomes = asked.outcomes

    def write(self) -> None:
        """Write the whole turn."""
        head, root = self._head, self._root
        self._open(f'{head},"spanId":"{root}","name":"turn","attributes":{{"corpus":"generated"}}')
        self._log(f'{head},"level":"info","msg":"turn started","spanId":"{root}"')
        steps = self._rng.randrange(1, 7)
        for index in range(steps):
            self._step(index, is_last=index == steps - 1)
        self._close(f'{head},"spanId":"{root}","name":"turn","durationMs":{self._ms - self._begin_ms},"status":"ok"')

    def _step(self, index: int, *, is_last: bool) -> None:
        ids, chance = self._rng.getrandbits(128), self._rng.getrandbits(40)
        call, output = f"{ids & 0xFFFFFFFFFFFFFFFF:016x}", 10 + (chance >> 12) % 400
        step = f'{self._head},"spanId":"{ids >> 64:016x}"'
        self._ms += 1
        begin_ms = self._ms
        self._open(f'{step},"name":"step","parentSpanId":"{self._root}","attributes":{{"index":{index}}}')
        span = f'{self._head},"spanId":"{call}","name":"provider.request","parentSpanId":"{ids >> 64:016x}"'
        self._call(span, index, call, 400 + chance % 3_001, output)
        if not is_last:
            tool, tool_ms, ok = _TOOLS[chance % 4], 3 + (chance >> 24) % 900, "false" if chance % 23 == 0 else "true"
            self._ms += tool_ms
            level = "error" if self._outcomes and ok == "false" else "info"
            self._log(
                f'{step},"level":"{level}","msg":"tool {tool} finished","parentSpanId":"{self._root}","attributes":'
                f'{{"tool":"{tool}","ok":{ok},"resultBytes":{output * 7},"durationMs":{tool_ms}}}'
            )
        self._close(
            f'{step},"name":"step","durationMs":{self._ms - begin_ms},"status":"ok","parentSpanId":"{self._root}",'
            '"attributes":{"toolCalls":1}'
        )

    def _call(self, span: str, index: int, call: str, wait_ms: int, output: int) -> None:
        """Write a provider call: request and response, with bodies where this turn has them."""
        model, talk = self._model, self._talk
        body, size = talk.request() if talk else ("", 3_500 + 1_500 * index)
        self._ms += 1
        self._open(
            f'{span},"attributes":{{"model":"{model}","provider":"openai","endpoint":"/v1/chat/completions",'
            f'"requestBytes":{size},"messageCount":{1 + 2 * index}}}{body}'
        )
        self._ms += wait_ms
        body = talk.response(call, output) if talk else ""
        cached = f',"cacheReadTokens":{size // 4 * index // (index + 1)}' if self._outcomes else ""
        self._close(
            f'{span},"durationMs":{wait_ms},"status":"ok","attributes":{{"model":"{model}","httpStatus":200,'
            f'"inputTokens":{size // 4},"outputTokens":{output},"finishReason":"stop"{cached}}}{body}'
        )

    def _open(self, members: str) -> None:
        self._add("span-open", members)

    def _close(self, members: str) -> None:
        self._add("span-close", members)

    def _log(self, members: str) -> None:
        self._add("log", members)

    def _add(self, kind: str, members: str) -> None:
        into, ms = self._into, self._ms
        into.append((ms, len(into), f'{{"kind":"{kind}","timestamp":{ms},{members}}}'))


class _Talk:
    """The bodies of one turn: every request holds all messages before it."""

    def __init__(self, message_bytes: int, rng: random.Random, turn: str, model: str) -> None:
        self._texts = _texts(message_bytes)
        self._rng = rng
        self._model = model
        system = rng.randrange(_SYSTEM_PROMPTS) * 3
        self._messages = r'{\"role\":\"system\",\"content\":\"'
        self._size = 0
        for text in self._texts[system : system + 3]:
            self._messages += text.escaped
            self._size += text.size_bytes
        self._messages += rf"turn {turn}\"}}"
        self._size += 60

    def request(self) -> tuple[str, int]:
        """Return the member ``body`` of the next request, and the body's size, about."""
        self._say("user")
        return rf',"body":"{{\"messages\":[{self._messages}],\"model\":\"{self._model}\"}}"', self._size + 40

    def response(self, call: str, tokens: int) -> str:
        """Return the member ``body`` of the answer."""
        text = self._say("assistant")
        return (
            rf',"body":"{{\"id\":\"chatcmpl-{call}\",\"object\":\"chat.completion\",\"model\":\"{self._model}\",'
            rf'\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{text.escaped}\"}},'
            rf'\"finish_reason\":\"stop\"}}],\"usage\":{{\"completion_tokens\":{tokens}}}}}"'
        )

    def _say(self, role: str) -> _Text:
        text = self._rng.choice(self._texts)
        self._messages += rf",{{\"role\":\"{role}\",\"content\":\"{text.escaped}\"}}"
        self._size += text.size_bytes + 33
        return text


@lru_cache(maxsize=4)
def _texts(message_bytes: int) -> list[_Text]:
    """Return texts of about so many bytes, ready for a body."""
    once = (json.dumps(piece)[1:-1] for piece in pieces(message_bytes))
    return [_Text(json.dumps(text)[1:-1], len(text)) for text in once]
