"""Inspect: a sample for each conversation, a model event with the raw call for each request, one ``.eval`` file."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

from inspect_ai.event import ModelEvent
from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSample, EvalSpec, condense_sample, write_eval_log
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    Content,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ModelCall,
    ModelOutput,
)
from inspect_ai.tool import ToolCall, ToolInfo, ToolParams
from pydantic import ValidationError

from benchmarks.peers import calls as given
from benchmarks.peers.feeding import main

_INSTRUCTIONS = ("system", "developer")


class _Talk:
    """Messages of one conversation: the same one is the same object in each request, as in an agent's loop."""

    def __init__(self) -> None:
        self._known: dict[given.Message, ChatMessage] = {}

    def messages(self, said: list[given.Message]) -> list[ChatMessage]:
        """Return them as Inspect has them."""
        return [self._known.setdefault(message, _message(message)) for message in said]


def feed(journal: Path, store: Path) -> dict[str, float]:
    """Make the samples, each condensed as its recorder does, and write them."""
    start = time.perf_counter()
    samples, calls = [], 0
    for conversation, spans in given.conversations(journal):
        samples.append(_sample(conversation, spans))
        calls += len(spans)
    spec = EvalSpec(
        created=datetime.now(UTC).isoformat(), task="journal", dataset=EvalDataset(name=journal.stem), model="recorded",
        config=EvalConfig(),
    )  # fmt: skip
    write_eval_log(EvalLog(eval=spec, status="success", samples=samples), store / "journal.eval")
    return {"calls": calls, "wall_s": time.perf_counter() - start}


def _sample(conversation: str, spans: list[given.Span]) -> EvalSample:
    talk = _Talk()
    events = [_event(span, talk) for span in spans]
    messages = [*events[-1].input, *(choice.message for choice in events[-1].output.choices)]
    sample = EvalSample(
        id=conversation, epoch=1, input=events[0].input, target="", messages=messages, events=events,
        output=events[-1].output,
    )  # fmt: skip
    return condense_sample(sample)


def _event(span: given.Span, talk: _Talk) -> ModelEvent:
    request, response = given.parsed(span.request), given.parsed(span.response)
    model = str(request.get("model", ""))
    (answer,) = talk.messages(given.response_messages(response)[:1]) or [ChatMessageAssistant(content="")]
    output = ModelOutput.from_message(answer) if isinstance(answer, ChatMessageAssistant) else ModelOutput()
    end_ms = span.end_ms or span.start_ms
    return ModelEvent(
        timestamp=datetime.fromtimestamp(span.start_ms / 1e3, UTC),
        completed=datetime.fromtimestamp(end_ms / 1e3, UTC),
        working_start=0,
        model=model,
        input=talk.messages(given.request_messages(request)),
        tools=[
            ToolInfo(name=tool.name, description=tool.description, parameters=_parameters(tool))
            for tool in given.tools(request)
        ],
        tool_choice="auto",
        config=GenerateConfig(max_tokens=request.get("max_tokens")),
        output=output.model_copy(update={"model": model}),
        call=ModelCall(request=request, response=response, time=(end_ms - span.start_ms) / 1e3),
    )


def _parameters(tool: given.Tool) -> ToolParams:
    try:
        return ToolParams(**{name: tool.schema[name] for name in ("properties", "required") if name in tool.schema})
    except ValidationError:  # a schema of another dialect; the raw request has it as it is
        return ToolParams()


def _message(message: given.Message) -> ChatMessage:
    if message.role == "tool":
        return ChatMessageTool(content=message.text, tool_call_id=message.result_of)
    if message.role != "assistant":
        kind = ChatMessageSystem if message.role in _INSTRUCTIONS else ChatMessageUser
        return kind(content=message.text)
    content: list[Content] = [ContentReasoning(reasoning=message.reasoning)] if message.reasoning else []
    content += [ContentText(text=message.text)] if message.text else []
    uses = [ToolCall(id=use.id, function=use.name, arguments=json.loads(use.arguments)) for use in message.tool_calls]
    return ChatMessageAssistant(content=content, tool_calls=uses or None)


if __name__ == "__main__":
    main("inspect-ai", feed)
