"""Short chats: a few messages of a person, one streamed answer each, no tools.

A conversation has one to eight messages, most have one or two. Its records, five a message::

    turn > provider.request     request body on the span's open, what was streamed on its close

A request holds the product's system prompt, 1 to 4 KB and the same for all its users, and the messages before it. A
response body is what came over the wire: events, each with a few words of the answer. One call in fifty is refused;
then the person leaves.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from benchmarks.corpora.journal import Clock, Record, Traffic, hexadecimal, to_json
from benchmarks.corpora.texts import pieces, prose, speech

_MODELS = ("claude-sonnet-4", "claude-haiku-4", "claude-opus-4")
_PRODUCTS = 12
_PROMPT_BYTES = (1_000, 4_000)
_SUGGESTIONS = 20
"""First messages that a product offers: whoever takes one sends the same request as others before."""
_TAKES_SUGGESTION = 0.1
_MOST_MESSAGES = 8
_MORE_MESSAGES = 2.2
"""What messages after the first are spread around."""
_MESSAGE_BYTES = (4.6, 1.1, 4_000)
_ANSWER_BYTES = (6.8, 0.8, 6_000)
"""Logarithm of the median, spread, and most."""
_CODE_SHARE = 0.2
_CODE_BYTES = 600
_DELTA_BYTES = (10, 70)
_DELTA = (
    "event: content_block_delta\n"
    'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":%s}}\n\n'
)
_REFUSED_SHARE = 0.02
_BYTES_A_TOKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Chats(Traffic):
    """A journal to be; `lines` makes it."""

    story_records: ClassVar[float] = 13.0

    def _story(self, rng: random.Random, ms: int) -> Iterator[Record]:
        return _Chat(rng, ms).records()


class _Chat(Clock):
    """Yields the records of one conversation."""

    def __init__(self, rng: random.Random, ms: int) -> None:
        super().__init__(ms)
        self._rng = rng
        self._model = rng.choice(_MODELS)
        self._product = rng.randrange(_PRODUCTS)
        self._head = {"extensionId": f"chat-{self._product}", "conversationId": f"chat-{hexadecimal(rng, 64)}"}
        self._messages: list[str] = []
        self._bytes = len(_system(self._product))

    def records(self) -> Iterator[Record]:
        """Yield turn after turn, until the person leaves."""
        rng = self._rng
        for _ in range(min(_MOST_MESSAGES, 1 + int(rng.expovariate(1 / _MORE_MESSAGES)))):
            is_refused = rng.random() < _REFUSED_SHARE
            yield from self._turn(is_refused=is_refused)
            if is_refused:
                return
            self.ms += 4_000 + int(rng.lognormvariate(10.3, 1.0))

    def _turn(self, *, is_refused: bool) -> Iterator[Record]:
        rng, begin_ms, status = self._rng, self.ms, "error" if is_refused else "ok"
        turn = self._head | {"turnId": hexadecimal(rng, 128)}
        span = {"spanId": hexadecimal(rng, 64), "name": "turn"}
        yield self.record("span-open", turn, **span, attributes={"product": self._product})
        said = self._ask()
        received = {"channel": rng.choice(("web", "ios", "android")), "bytes": len(said)}
        yield self.record("log", turn, spanId=span["spanId"], level="info", msg="message received", attributes=received)
        yield from self._call(turn | {"parentSpanId": span["spanId"]}, status)
        yield self.record("span-close", turn, **span, durationMs=self.ms - begin_ms, status=status)

    def _call(self, head: Record, status: str) -> Iterator[Record]:
        rng, request = self._rng, self._request()
        call = head | {"spanId": hexadecimal(rng, 64), "name": "provider.request"}
        asked = {"model": self._model, "provider": "anthropic", "endpoint": "/v1/messages", "stream": True}
        sizes = {"requestBytes": len(request), "messageCount": len(self._messages)}
        yield self.record("span-open", call, attributes=asked | sizes, body=request)
        tokens = self._tokens()
        if status == "error":
            wait_ms, body, answered = rng.randrange(80, 900), _refusal(rng), {"httpStatus": 529}
        else:
            answer = self._answer()
            first_ms, output = rng.randrange(250, 1_500), len(answer) // _BYTES_A_TOKEN
            wait_ms = first_ms + output * rng.randrange(8, 18)
            body = _streamed(rng, self._model, answer, tokens)
            answered = {"httpStatus": 200, "firstTokenMs": first_ms, "finishReason": "end_turn", "outputTokens": output}
            answered |= {"inputTokens": sum(tokens), "cacheReadTokens": tokens[1]}
        self.ms += wait_ms
        about = {"model": self._model} | answered
        yield self.record("span-close", call, durationMs=wait_ms, status=status, attributes=about, body=body)

    def _ask(self) -> str:
        rng = self._rng
        if not self._messages and rng.random() < _TAKES_SUGGESTION:
            said = _suggestions()[rng.randrange(_SUGGESTIONS)]
        else:
            said = speech(rng, _drawn(rng, *_MESSAGE_BYTES))
        self._say("user", said)
        return said

    def _answer(self) -> str:
        rng = self._rng
        answer = speech(rng, _drawn(rng, *_ANSWER_BYTES))
        if rng.random() < _CODE_SHARE:
            answer += f"\n\n```python\n{rng.choice(pieces(_CODE_BYTES))}```\n"
        self._say("assistant", answer)
        return answer

    def _say(self, role: str, text: str) -> None:
        self._messages.append(to_json({"role": role, "content": text}))
        self._bytes += len(text)

    def _request(self) -> str:
        head = f'{{"model":"{self._model}","max_tokens":2048,"stream":true,"system":{_system(self._product)}'
        return f'{head},"messages":[{",".join(self._messages)}]}}'

    def _tokens(self) -> tuple[int, int]:
        """Return the tokens of the request that are new to the provider, and those it still had."""
        tokens, new = self._bytes // _BYTES_A_TOKEN, len(self._messages[-1]) // _BYTES_A_TOKEN
        return (new, tokens - new) if len(self._messages) > 1 else (tokens, 0)


def _streamed(rng: random.Random, model: str, answer: str, tokens: tuple[int, int]) -> str:
    """Return the events that an answer came in."""
    new, known = tokens
    usage = {"input_tokens": new, "cache_read_input_tokens": known, "output_tokens": 1}
    message = {"id": f"msg_{hexadecimal(rng, 96)}", "type": "message", "role": "assistant", "model": model}
    done = {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": len(answer) // _BYTES_A_TOKEN}}
    at, events = 0, [_event("message_start", message=message | {"content": [], "usage": usage})]
    while at < len(answer):
        text = answer[at : at + rng.randrange(*_DELTA_BYTES)]
        events.append(_DELTA % to_json(text))
        at += len(text)
    return "".join([*events, _event("message_delta", **done), _event("message_stop")])


def _event(name: str, **members: object) -> str:
    return f"event: {name}\ndata: {to_json({'type': name, **members})}\n\n"


def _refusal(rng: random.Random) -> str:
    error = {"type": "overloaded_error", "message": "Overloaded"}
    return to_json({"type": "error", "error": error, "request_id": f"req_{hexadecimal(rng, 96)}"})


def _drawn(rng: random.Random, log_median: float, spread: float, most: int) -> int:
    return min(most, int(rng.lognormvariate(log_median, spread)))


@lru_cache(maxsize=_PRODUCTS)
def _system(product: int) -> str:
    rng = random.Random(f"product {product}")
    return to_json(f"You are an assistant.\n\n{prose(rng, rng.randrange(*_PROMPT_BYTES))}")


@lru_cache(maxsize=1)
def _suggestions() -> list[str]:
    rng = random.Random("suggestions")
    return [prose(rng, 60) for _ in range(_SUGGESTIONS)]
