"""A coding agent's week as a journal: deterministic, streamed, with the shape of real sessions.

Conversations of 60 to 200 calls; a request resends everything before it, 90 to 860 KB, about 97 % of it as
in the request before. It grows at the end of its messages, and changes a little in their middle::

    messages    first the instructions and the task; then, a call at a time, what the model said (thinking,
                text, one use of a tool) and what the tool answered. The last two messages are marked for
                the cache, so the marks move; the last one carries a reminder that is gone with the next
                call; now and then an older message gets a notice of a changed file; when they are
                too long, what tools returned is taken out of the older half
    system      a fingerprint that is new with each call; the prompt, the same for all
    tools       definitions, the same for all

The journal has the records `benchmarks.corpora.tool_agent` has: ``turn > step > provider.request``. Conversations of a
day overlap. At the most those that overlap are in memory. The same options and Python give the same bytes.
"""

import heapq
import json
import random
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.corpora.coding_tools import ROOT, Workspace, sentences
from benchmarks.corpora.tool_agent import DAY_MS, START_MS, write_lines

WORKING_DAYS = 5
FULL_CONVERSATIONS = 42
"""A week: 1.6 GB of raw bodies."""
SMALL_CONVERSATIONS = 5

_MODEL = "claude-sonnet-4"
_TOOLS = (
    "Task", "Bash", "Glob", "Grep", "Read", "Edit", "Write", "NotebookEdit", "WebFetch", "TodoWrite", "WebSearch",
    "TaskOutput", "AskUserQuestion", "Skill", "TaskCreate", "TaskUpdate", "TaskList", "ExitPlanMode",
)  # fmt: skip
_PARAMETERS = ("description", "path", "pattern", "content", "limit", "offset", "mode", "timeout", "command", "prompt")
_MARK = ',"cache_control":{"type":"ephemeral"}}'
_CALLS = (60, 200)
_RESULT_BYTES = (3_000, 9_500)
_LEAST_CLEARED_BYTES = 130_000
_CLEARED_BYTES_SPREAD = 670_000
"""When messages are too long: the least, and what may come to it."""
_SIGNATURE_BYTES = 400

_CLEARED = re.compile(r'^(.*?"type":"tool_result","content":)".*"}$', re.DOTALL)

_Record: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodingAgent:
    """A journal to be; `lines` makes it."""

    conversations: int = FULL_CONVERSATIONS
    seed: int = 1
    start_ms: int = START_MS

    def lines(self) -> Iterator[str]:
        """Yield the lines in order of time, without their newlines."""
        talks = [self._conversation(number) for number in range(self.conversations)]
        for record in heapq.merge(*talks, key=lambda record: record["timestamp"]):
            yield _json(record)

    def write(self, path: Path) -> Path:
        """Write the journal; returns its path."""
        return write_lines(path, self.lines())

    def _conversation(self, number: int) -> Iterator[_Record]:
        rng = random.Random(f"{self.seed} {number}")
        morning_ms = self.start_ms + (1 + number % WORKING_DAYS) * DAY_MS + DAY_MS * 9 // 24
        return _Conversation(rng, morning_ms + rng.randrange(DAY_MS // 3)).records()


class _Conversation:
    """Yields the records of one conversation, its clock running."""

    def __init__(self, rng: random.Random, ms: int) -> None:
        self._rng = rng
        self._ms = ms
        self._calls = int(rng.triangular(*_CALLS, _CALLS[0]))
        self._head = {"extensionId": "provider-anthropic", "conversationId": f"agent-{_hex(rng, 64)}"}

    def records(self) -> Iterator[_Record]:
        """Yield turn after turn, until the calls are used up."""
        rng, talk, left = self._rng, None, self._calls
        while left:
            calls = min(left, rng.randrange(4, 30))
            turn = self._head | {"turnId": _hex(rng, 64)}
            span, begin_ms = _hex(rng, 64), self._ms
            yield self._record("span-open", turn, spanId=span, name="turn", attributes={"corpus": "agent week"})
            talk = talk or _Talk(rng)
            talk.ask()
            for index in range(calls):
                yield from self._step(turn, span, index, talk)
            yield self._record(
                "span-close", turn, spanId=span, name="turn", durationMs=self._ms - begin_ms, status="ok"
            )
            left -= calls
            self._ms += rng.randrange(20_000, 900_000)

    def _step(self, turn: _Record, parent: str, index: int, talk: "_Talk") -> Iterator[_Record]:
        rng, begin_ms = self._rng, self._ms
        step = turn | {"spanId": _hex(rng, 64), "parentSpanId": parent}
        call = turn | {"spanId": _hex(rng, 64), "parentSpanId": step["spanId"], "name": "provider.request"}
        yield self._record("span-open", step, name="step", attributes={"index": index})
        request = talk.request()
        asked = {"model": _MODEL, "provider": "anthropic", "endpoint": "/v1/messages", "requestBytes": len(request)}
        yield self._record("span-open", call, attributes=asked, body=request)
        wait_ms = rng.randrange(2_000, 20_000)
        self._ms += wait_ms
        response, tool, result_bytes = talk.respond()
        answered = {"model": _MODEL, "httpStatus": 200, "outputTokens": len(response) // 4}
        yield self._record(
            "span-close", call, durationMs=wait_ms, status="ok", attributes=answered, body=response
        )
        self._ms += rng.randrange(20, 9_000)
        ran = {"tool": tool, "ok": True, "resultBytes": result_bytes}
        yield self._record("log", step, level="info", msg=f"tool {tool} finished", attributes=ran)
        yield self._record("span-close", step, name="step", durationMs=self._ms - begin_ms, status="ok")

    def _record(self, kind: str, head: _Record, **members: object) -> _Record:
        self._ms += 1
        return {"kind": kind, "timestamp": self._ms, **head, **members}


class _Talk:
    """The messages of one conversation, each as the JSON of its blocks."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._result_bytes = rng.randrange(*_RESULT_BYTES)
        self._most_bytes = int(_LEAST_CLEARED_BYTES + _CLEARED_BYTES_SPREAD * rng.random() ** 2.5)
        self._workspace = Workspace(rng)
        self._messages: list[tuple[str, list[str]]] = []
        self._session = f"user_{_hex(rng, 256)}_session_{_hex(rng, 128)}"

    def ask(self) -> None:
        """Let the user say something; at first with the instructions of the project and the state of its tree."""
        blocks = [_text(_prose(self._rng, self._rng.randrange(100, 900)))]
        if not self._messages:
            state = "\n".join(f" M {self._workspace.use(0).input.get('file_path')}" for _ in range(6))
            blocks.insert(0, _text(f"<system-reminder>\n{_instructions()}\n# Status\n{state}\n</system-reminder>"))
        self._say("user", blocks)
        if sum(len(block) for _, blocks in self._messages for block in blocks) > self._most_bytes:
            self._clear()

    def request(self) -> str:
        """Return the body of the next request."""
        *older, (role, last) = self._messages
        parts = [_message(*message, is_marked=message is older[-1]) for message in older]
        parts.append(_message(role, [*last, self._reminder()], is_marked=True))
        head = f'{{"model":"{_MODEL}","messages":[' + ",".join(parts)
        billing = _text(f"x-billing: version=2.1.50; fingerprint={_hex(self._rng, 32)};")
        user = _json({"user_id": self._session})
        tail = f',"metadata":{user},"max_tokens":32000,"stream":true}}'
        return f'{head}],"system":[{billing},{_system()}],"tools":{_tools()}{tail}'

    def respond(self) -> tuple[str, str, int]:
        """Return the body of the answer, the tool that it uses and the size of what that returned, in bytes."""
        rng = self._rng
        use = self._workspace.use(int(self._result_bytes * rng.lognormvariate(-0.3, 0.8)))
        ident = f"toolu_{_hex(rng, 96)}"
        blocks = [_json({"type": "tool_use", "id": ident, "name": use.tool, "input": use.input})]
        if rng.random() < 0.5:
            blocks.insert(0, _text(_prose(rng, rng.randrange(60, 500))))
        if rng.random() < 0.4:
            signature = b64encode(rng.randbytes(_SIGNATURE_BYTES)).decode()
            thought = {"type": "thinking", "thinking": _prose(rng, 400), "signature": signature}
            blocks.insert(0, _json(thought))
        self._say("assistant", blocks)
        result = {"tool_use_id": ident, "type": "tool_result", "content": use.result}
        self._say("user", [_json(result)])
        if len(self._messages) > 12 and rng.random() < 0.12:
            self._notice(use.result)
        usage = {"input_tokens": rng.randrange(9), "output_tokens": rng.randrange(900)}
        head = f'{{"model":"{_MODEL}","id":"msg_{_hex(rng, 96)}","type":"message","role":"assistant","content":['
        tail = f'],"stop_reason":"tool_use","usage":{_json(usage)}}}'
        return head + ",".join(blocks) + tail, use.tool, len(use.result)

    def _say(self, role: str, blocks: list[str]) -> None:
        if self._messages and self._messages[-1][0] == role:
            self._messages[-1][1].extend(blocks)
        else:
            self._messages.append((role, blocks))

    def _clear(self) -> None:
        """Take what tools returned out of the older half of the messages."""
        for _, blocks in self._messages[: len(self._messages) // 2]:
            blocks[:] = [_CLEARED.sub(r'\1"[Old tool result content cleared]"}', block) for block in blocks]

    def _reminder(self) -> str:
        """Return the block that stands at the end of one request and of no other."""
        rng = self._rng
        tasks = [
            {"content": sentence[:80], "status": rng.choice(("pending", "in_progress", "completed"))}
            for sentence in rng.sample(sentences(), rng.randrange(4, 11))
        ]
        return _text(f"<system-reminder>\nYour todo list has changed:\n{_json(tasks)}\n</system-reminder>")

    def _notice(self, text: str) -> None:
        """Add to an older message that a file was changed, with a piece of it."""
        _, blocks = self._messages[-2 * self._rng.randrange(1, 6) - 1]
        start = self._rng.randrange(max(1, len(text) - 900))
        blocks.append(_text(f"<system-reminder>\nNote: {ROOT} was modified:\n{text[start : start + 800]}\n"))


@lru_cache(maxsize=1)
def _system() -> str:
    rng = random.Random("system")
    return _marked(_text(f"You are a coding agent.\n\n{_prose(rng, 12_000)}"))


@lru_cache(maxsize=1)
def _instructions() -> str:
    return f"# Instructions\n{_prose(random.Random('instructions'), 9_000)}"


@lru_cache(maxsize=1)
def _tools() -> str:
    rng = random.Random("tools")
    parameters = {name: {"description": _prose(rng, 150), "type": "string"} for name in _PARAMETERS}
    tools = []
    for name in _TOOLS:
        names = rng.sample(_PARAMETERS, rng.randrange(4, len(_PARAMETERS)))
        properties = {name: parameters[name] for name in names}
        schema = {"type": "object", "properties": properties, "required": names[:1], "additionalProperties": False}
        tools.append({"name": name, "description": _prose(rng, rng.randrange(1_000, 3_600)), "input_schema": schema})
    return _json(tools)


def _prose(rng: random.Random, size_bytes: int) -> str:
    """Return sentences that stand together, of about that size."""
    said: list[str] = []
    at = rng.randrange(len(sentences()))
    while size_bytes > 0:
        said.append(sentences()[(at + len(said)) % len(sentences())])
        size_bytes -= len(said[-1])
    return " ".join(said)


def _message(role: str, blocks: list[str], *, is_marked: bool) -> str:
    shown = [*blocks[:-1], _marked(blocks[-1])] if is_marked else blocks
    return f'{{"role":"{role}","content":[{",".join(shown)}]}}'


def _text(text: str) -> str:
    return _json({"type": "text", "text": text})


def _marked(block: str) -> str:
    return block[:-1] + _MARK


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _hex(rng: random.Random, bits: int) -> str:
    return f"{rng.getrandbits(bits):0{bits // 4}x}"
