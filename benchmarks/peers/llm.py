"""simonw/llm: its log store, where every call is a chain of messages, each kept once."""

import json
import time
from pathlib import Path

import sqlite_utils
from llm.logs import LogStore
from llm.parts import Message, Part, ReasoningPart, TextPart, ToolCallPart, ToolResultPart

from benchmarks.peers import calls as given
from benchmarks.peers.feeding import main


def feed(journal: Path, store: Path) -> dict[str, float]:
    """Store each call's messages and its answer, and point the conversation's thread at it."""
    logs = LogStore(sqlite_utils.Database(store / "logs.db"))
    start = time.perf_counter()
    calls = 0
    for step in given.steps(journal):
        if step.is_call and step.end_ms is not None:
            request, response = given.parsed(step.request), given.parsed(step.response)
            said = [*given.request_messages(request), *given.response_messages(response)]
            with logs.db.atomic():
                tip = logs.ensure_chain([_message(message) for message in said])
                thread = logs.ensure_thread(step.conversation_id)
                logs.db["threads"].update(thread, {"tip_message_hash": tip})
            calls += 1
    logs.db.close()
    return {"calls": calls, "wall_s": time.perf_counter() - start}


def _message(message: given.Message) -> Message:
    if message.role == "tool":
        return Message("tool", [ToolResultPart(output=message.text, tool_call_id=message.result_of)])
    parts: list[Part] = [ReasoningPart(text=message.reasoning)] if message.reasoning else []
    parts += [TextPart(text=message.text)] if message.text else []
    for call in message.tool_calls:
        parts.append(ToolCallPart(name=call.name, arguments=json.loads(call.arguments), tool_call_id=call.id))
    return Message(message.role, parts)


if __name__ == "__main__":
    main("llm", feed)
