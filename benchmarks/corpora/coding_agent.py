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
import random
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from benchmarks.corpora.coding_tools import ROOT, Workspace
from benchmarks.corpora.journal import DAY_MS, START_MS, Clock, Record, hexadecimal, to_json, write_lines
from benchmarks.corpora.texts import prose, sentences

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
_RECORDS_A_CALL = 5
_RESULT_BYTES = (3_000, 9_500)
_LEAST_CLEARED_BYTES = 130_000
_CLEARED_BYTES_SPREAD = 670_000
"""When messages are too long: the least, and what may come to it."""
_SIGNATURE_BYTES = 400

_CLEARED = re.compile(r'^(.*?"type":"tool_result","content":)".*"}$', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodingAgent:
    """A journal to be; `lines` makes it."""

    conversations: int = FULL_CONVERSATIONS
    seed: int = 1
    start_ms: int = START_MS
    days: int = WORKING_DAYS
    records: int | None = None
    """Cut the journal at so many; None for all that the conversations have."""

    @classmethod
    def for_records(cls, records: int, seed: int = 1) -> "CodingAgent":
        """Return one of exactly so many records, at least 1; more than a week's are spread over more days, as busy."""
        week, conversations, least = cls(seed=seed), 0, 0
        while least < records:
            least += week._conversation(conversations).least_records
            conversations += 1
        days = max(WORKING_DAYS, conversations * WORKING_DAYS // FULL_CONVERSATIONS)
        return cls(conversations=conversations, seed=seed, days=days, records=records)

    def lines(self) -> Iterator[str]:
        """Yield the lines in order of time, without their newlines."""
        talks = [self._conversation(number).records() for number in range(self.conversations)]
        merged = heapq.merge(*talks, key=lambda record: record["timestamp"])
        for record in islice(merged, self.records):
            yield to_json(record)

    def write(self, path: Path) -> Path:
        """Write the journal; returns its path."""
        return write_lines(path, self.lines())

    def _conversation(self, number: int) -> "_Conversation":
        rng = random.Random(f"{self.seed} {number}")
        morning_ms = self.start_ms + (1 + number % self.days) * DAY_MS + DAY_MS * 9 // 24
        return _Conversation(rng, morning_ms + rng.randrange(DAY_MS // 3))


class _Conversation(Clock):
    """Yields the records of one conversation, its clock running."""

    def __init__(self, rng: random.Random, ms: int) -> None:
        super().__init__(ms)
        self._rng = rng
        self._calls = int(rng.triangular(*_CALLS, _CALLS[0]))
        self._head = {"extensionId": "provider-anthropic", "conversationId": f"agent-{hexadecimal(rng, 64)}"}

    @property
    def least_records(self) -> int:
        """How many records this has, without the first and last of its turns."""
        return self._calls * _RECORDS_A_CALL

    def records(self) -> Iterator[Record]:
        """Yield turn after turn, until the calls are used up."""
        rng, talk, left = self._rng, None, self._calls
        while left:
            calls = min(left, rng.randrange(4, 30))
            turn = self._head | {"turnId": hexadecimal(rng, 64)}
            span, begin_ms = hexadecimal(rng, 64), self.ms
            yield self.record("span-open", turn, spanId=span, name="turn", attributes={"corpus": "agent week"})
            talk = talk or _Talk(rng)
            talk.ask()
            for index in range(calls):
                yield from self._step(turn, span, index, talk)
            yield self.record("span-close", turn, spanId=span, name="turn", durationMs=self.ms - begin_ms, status="ok")
            left -= calls
            self.ms += rng.randrange(20_000, 900_000)

    def _step(self, turn: Record, parent: str, index: int, talk: "_Talk") -> Iterator[Record]:
        rng, begin_ms = self._rng, self.ms
        step = turn | {"spanId": hexadecimal(rng, 64), "parentSpanId": parent}
        call = turn | {"spanId": hexadecimal(rng, 64), "parentSpanId": step["spanId"], "name": "provider.request"}
        yield self.record("span-open", step, name="step", attributes={"index": index})
        request = talk.request()
        asked = {"model": _MODEL, "provider": "anthropic", "endpoint": "/v1/messages", "requestBytes": len(request)}
        yield self.record("span-open", call, attributes=asked, body=request)
        wait_ms = rng.randrange(2_000, 20_000)
        self.ms += wait_ms
        response, tool, result_bytes = talk.respond()
        answered = {"model": _MODEL, "httpStatus": 200, "outputTokens": len(response) // 4}
        yield self.record("span-close", call, durationMs=wait_ms, status="ok", attributes=answered, body=response)
        self.ms += rng.randrange(20, 9_000)
        ran = {"tool": tool, "ok": True, "resultBytes": result_bytes}
        yield self.record("log", step, level="info", msg=f"tool {tool} finished", attributes=ran)
        yield self.record("span-close", step, name="step", durationMs=self.ms - begin_ms, status="ok")


class _Talk:
    """The messages of one conversation, each as the JSON of its blocks."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._result_bytes = rng.randrange(*_RESULT_BYTES)
        self._most_bytes = int(_LEAST_CLEARED_BYTES + _CLEARED_BYTES_SPREAD * rng.random() ** 2.5)
        self._workspace = Workspace(rng)
        self._messages: list[tuple[str, list[str]]] = []
        self._session = f"user_{hexadecimal(rng, 256)}_session_{hexadecimal(rng, 128)}"

    def ask(self) -> None:
        """Let the user say something; at first with the instructions of the project and the state of its tree."""
        blocks = [_text(prose(self._rng, self._rng.randrange(100, 900)))]
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
        billing = _text(f"x-billing: version=2.1.50; fingerprint={hexadecimal(self._rng, 32)};")
        user = to_json({"user_id": self._session})
        tail = f',"metadata":{user},"max_tokens":32000,"stream":true}}'
        return f'{head}],"system":[{billing},{_system()}],"tools":{_tools()}{tail}'

    def respond(self) -> tuple[str, str, int]:
        """Return the body of the answer, the tool that it uses and the size of what that returned, in bytes."""
        rng = self._rng
        use = self._workspace.use(int(self._result_bytes * rng.lognormvariate(-0.3, 0.8)))
        ident = f"toolu_{hexadecimal(rng, 96)}"
        blocks = [to_json({"type": "tool_use", "id": ident, "name": use.tool, "input": use.input})]
        if rng.random() < 0.5:
            blocks.insert(0, _text(prose(rng, rng.randrange(60, 500))))
        if rng.random() < 0.4:
            signature = b64encode(rng.randbytes(_SIGNATURE_BYTES)).decode()
            thought = {"type": "thinking", "thinking": prose(rng, 400), "signature": signature}
            blocks.insert(0, to_json(thought))
        self._say("assistant", blocks)
        result = {"tool_use_id": ident, "type": "tool_result", "content": use.result}
        self._say("user", [to_json(result)])
        if len(self._messages) > 12 and rng.random() < 0.12:
            self._notice(use.result)
        usage = {"input_tokens": rng.randrange(9), "output_tokens": rng.randrange(900)}
        head = f'{{"model":"{_MODEL}","id":"msg_{hexadecimal(rng, 96)}","type":"message","role":"assistant","content":['
        tail = f'],"stop_reason":"tool_use","usage":{to_json(usage)}}}'
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
        return _text(f"<system-reminder>\nYour todo list has changed:\n{to_json(tasks)}\n</system-reminder>")

    def _notice(self, text: str) -> None:
        """Add to an older message that a file was changed, with a piece of it."""
        _, blocks = self._messages[-2 * self._rng.randrange(1, 6) - 1]
        start = self._rng.randrange(max(1, len(text) - 900))
        blocks.append(_text(f"<system-reminder>\nNote: {ROOT} was modified:\n{text[start : start + 800]}\n"))


@lru_cache(maxsize=1)
def _system() -> str:
    rng = random.Random("system")
    return _marked(_text(f"You are a coding agent.\n\n{prose(rng, 12_000)}"))


@lru_cache(maxsize=1)
def _instructions() -> str:
    return f"# Instructions\n{prose(random.Random('instructions'), 9_000)}"


@lru_cache(maxsize=1)
def _tools() -> str:
    rng = random.Random("tools")
    parameters = {name: {"description": prose(rng, 150), "type": "string"} for name in _PARAMETERS}
    tools = []
    for name in _TOOLS:
        names = rng.sample(_PARAMETERS, rng.randrange(4, len(_PARAMETERS)))
        properties = {name: parameters[name] for name in names}
        schema = {"type": "object", "properties": properties, "required": names[:1], "additionalProperties": False}
        tools.append({"name": name, "description": prose(rng, rng.randrange(1_000, 3_600)), "input_schema": schema})
    return to_json(tools)


def _message(role: str, blocks: list[str], *, is_marked: bool) -> str:
    shown = [*blocks[:-1], _marked(blocks[-1])] if is_marked else blocks
    return f'{{"role":"{role}","content":[{",".join(shown)}]}}'


def _text(text: str) -> str:
    return to_json({"type": "text", "text": text})


def _marked(block: str) -> str:
    return block[:-1] + _MARK
