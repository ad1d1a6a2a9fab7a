"""The easy view: a turn as a text tree, one line per event.

::

    - step 1.8s                                   a span that closed
      - tool.call 400ms ERR {name="read", n=2}    status error; at most three attributes
        - [warn] a warning [body 2.1k]            a log, no tag for info; what its body weighs
      - retry (open) -> s7 (retry of)             never closed; linked to span s7
    - late 5ms (orphan of s9)                     its parent is not in this turn

- A child hangs under its parent, two spaces a level, sorted by time; what happened in the same
  nanosecond keeps the order of insertion. Below 100 levels the indentation stops and the line
  gives its level: ``- (level 101) NAME``.
- Attributes are those of the open, then the close's new ones; where both have a key, the close's
  value wins. Model, tool, error and tokens come first, as capture and as OpenTelemetry's conventions
  call them; what the receiver adds about the transport (``otlp.``, ``resource.``, ``scope.``) is not
  shown. Strings longer than 20 characters are cut to 17 and ``...``.
- Links follow the body as ``-> SPAN (reason)``, with their turn ``-> TURN/SPAN``, at most three,
  then how many more: ``-> s1, s2, s3, +4``.
- Marks come last. ``(orphan of P)``: the parent is not in the turn; shown at the root.
  ``(cycle through P)``: its parents lead back to itself; shown at the root, at the earliest span
  of the cycle. ``(opened 2x)``: one id opened by different spans, the earliest is shown; a plain
  resend is no second event.
- A log belongs to the span it names; if that is not in the turn, to its parent span.
- A close whose open is not in the turn is no event of its own and has no line.
- Characters that would break or disguise a line are escaped (see `printable`).

Bodies are never read, their size is in the row. The work is one sort and one walk without
recursion, so a turn may have any number of spans at any depth.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from tracestore.units import format_duration_ms, format_size_bytes
from tracestore.views.event import EventLike, Scalar
from tracestore.views.printable import escape_to_one_line

__all__ = ["EventLike", "render_easy_view"]

ATTRIBUTES_SHOWN = 3
SHOWN_FIRST = {
    name: rank
    for rank, name in enumerate([
        "model", "gen_ai.request.model", "llm.model_name", "embedding.model_name", "llm.request.model",
        "tool", "gen_ai.tool.name", "tool.name",
        "error.type", "error.message",
        "inputTokens", "gen_ai.usage.input_tokens", "llm.token_count.prompt", "llm.usage.prompt_tokens",
        "outputTokens", "gen_ai.usage.output_tokens", "llm.token_count.completion", "llm.usage.completion_tokens",
    ])
}  # fmt: skip
"""Nobody sorts attributes by what helps: of an exporter's twenty the first three were media types."""
NOT_SHOWN = ("otlp.", "resource.", "scope.")
LINKS_SHOWN = 3
STRING_SHOWN = 20
"""Characters of an attribute value or a link's reason; a line is for scanning."""
LINKS_COMPARED = 64
"""A resent half repeats a few links; comparing all with all would be quadratic."""
INDENTED_LEVELS = 100
"""Indenting without an end would write 2.5 GB of spaces for a chain of 50,000 spans."""


def render_easy_view(records: Iterable[EventLike]) -> str:
    """Write the tree of these records, given in order of insertion; no records, no text."""
    nodes, spans = _join(sorted(records, key=attrgetter("timestamp_ns")))
    for node in nodes:
        node.parent = _find_parent(node.event, spans)
    _break_cycles(nodes)
    roots: list[_Node] = []
    for node in nodes:
        (roots if node.parent is None else node.parent.children).append(node)
    return "\n".join(_lines(roots))


@dataclass(slots=True, eq=False)
class _Node:
    """One line to be: a log, or a span joined from its halves."""

    event: EventLike
    """The log, or the earliest open."""
    position: int
    close: EventLike | None = None
    attributes: dict[str, Scalar] = field(default_factory=dict)
    links: list[Mapping[str, Scalar]] = field(default_factory=list)
    body_size_bytes: int | None = None
    opened_count: int = 1
    parent: "_Node | None" = None
    is_cut: bool = False
    """Whether the way to its parent was cut because it led back here."""
    children: "list[_Node]" = field(default_factory=list)

    def absorb(self, event: EventLike) -> None:
        """Take over what a later half says; the later word wins."""
        if event.attributes:
            self.attributes |= event.attributes
        for link in event.links or ():
            if link not in self.links[-LINKS_COMPARED:]:
                self.links.append(link)
        if event.body_size_bytes is not None:
            self.body_size_bytes = event.body_size_bytes


def _join(ordered: Sequence[EventLike]) -> tuple[list[_Node], dict[str, _Node]]:
    """Make a node of every log and every span, in order of time; spans also by id."""
    nodes: list[_Node] = []
    spans: dict[str, _Node] = {}
    closes: list[EventLike] = []
    for event in ordered:
        if event.kind == "span-close":
            closes.append(event)
            continue
        known = spans.get(event.span_id) if event.kind == "span-open" and event.span_id is not None else None
        if known is None:
            node = _Node(event, position=len(nodes))
            nodes.append(node)
            if event.kind == "span-open" and event.span_id is not None:
                spans[event.span_id] = node
        else:
            node = known
            node.opened_count += not _is_resent(event, node.event)
        node.absorb(event)
    # Closes wait until every open is known: clocks may put a close before its open.
    for close in closes:
        if close.span_id is not None and (span := spans.get(close.span_id)) is not None:
            span.close = close
            span.absorb(close)
    return nodes, spans


def _is_resent(event: EventLike, first: EventLike) -> bool:
    return (event.timestamp_ns, event.name, event.parent_span_id) == (
        first.timestamp_ns,
        first.name,
        first.parent_span_id,
    )


def _find_parent(event: EventLike, spans: Mapping[str, _Node]) -> _Node | None:
    for span_id in _parent_ids(event):
        if (parent := spans.get(span_id)) is not None:
            return parent
    return None


def _parent_ids(event: EventLike) -> list[str]:
    """List the spans this event belongs under, best first."""
    ids = [event.parent_span_id] if event.kind == "span-open" else [event.span_id, event.parent_span_id]
    return [span_id for span_id in ids if span_id is not None]


def _break_cycles(nodes: Iterable[_Node]) -> None:
    """Cut each cycle of parents above its earliest span; each node is walked over once."""
    walked_in: dict[_Node, int] = {}
    for walk, start in enumerate(nodes):
        node: _Node | None = start
        while node is not None and node not in walked_in:
            walked_in[node] = walk
            node = node.parent
        if node is None or walked_in[node] != walk:
            continue
        earliest, other = node, node.parent
        while other is not None and other is not node:
            earliest = min(earliest, other, key=attrgetter("position"))
            other = other.parent
        earliest.parent, earliest.is_cut = None, True


def _lines(roots: Sequence[_Node]) -> Iterable[str]:
    waiting = [(0, node) for node in reversed(roots)]
    while waiting:
        level, node = waiting.pop()
        yield _indentation(level) + _text(node)
        waiting.extend((level + 1, child) for child in reversed(node.children))


def _indentation(level: int) -> str:
    if level <= INDENTED_LEVELS:
        return "  " * level + "- "
    return "  " * INDENTED_LEVELS + f"- (level {level}) "


def _text(node: _Node) -> str:
    text = _span_text(node) if node.event.kind == "span-open" else _log_text(node.event)
    if node.body_size_bytes is not None:
        text += f" [body {format_size_bytes(node.body_size_bytes)}]"
    if node.links:
        text += f" -> {_links_text(node.links)}"
    return escape_to_one_line(text + _marks_text(node))


def _span_text(node: _Node) -> str:
    outcome = "(open)"
    if node.close is not None:
        error = " ERR" if node.close.status == "error" else ""
        outcome = f"{format_duration_ms(node.close.duration_ms)}{error}"
    text = f"{node.event.name or ''} {outcome}"
    shown = _shown(node.attributes)
    if shown:
        text += " {" + ", ".join(f"{key}={_scalar_text(value)}" for key, value in shown) + "}"
    return text


def _shown(attributes: Mapping[str, Scalar]) -> list[tuple[str, Scalar]]:
    """Choose the attributes for a line; those of no convention keep their order."""
    telling = [item for item in attributes.items() if not item[0].startswith(NOT_SHOWN)]
    return sorted(telling, key=lambda item: SHOWN_FIRST.get(item[0], len(SHOWN_FIRST)))[:ATTRIBUTES_SHOWN]


def _log_text(event: EventLike) -> str:
    tag = "" if event.level in (None, "info") else f"[{event.level}] "
    return f"{tag}{event.msg or ''}"


def _scalar_text(value: Scalar) -> str:
    if isinstance(value, str):
        return f'"{_cut(value)}"'
    # Whatever else a number came as (a Decimal keeps digits that a double has not) prints itself.
    return json.dumps(value) if value is None or isinstance(value, (bool, float)) else str(value)


def _links_text(links: Sequence[Mapping[str, Scalar]]) -> str:
    parts = [_link_text(link) for link in links[:LINKS_SHOWN]]
    if len(links) > LINKS_SHOWN:
        parts.append(f"+{len(links) - LINKS_SHOWN}")
    return ", ".join(parts)


def _link_text(link: Mapping[str, Scalar]) -> str:
    turn_id, span_id, reason = link.get("turnId"), link.get("spanId"), link.get("reason")
    target = f"{turn_id}/" if turn_id is not None else ""
    target += "?" if span_id is None else str(span_id)
    return target if reason is None else f"{target} ({_cut(str(reason))})"


def _marks_text(node: _Node) -> str:
    text = f" (opened {node.opened_count}x)" if node.opened_count > 1 else ""
    parent_ids = _parent_ids(node.event) if node.parent is None else []
    if parent_ids:
        text += f" ({'cycle through' if node.is_cut else 'orphan of'} {parent_ids[-1]})"
    return text


def _cut(text: str) -> str:
    return text if len(text) <= STRING_SHOWN else text[: STRING_SHOWN - 3] + "..."
