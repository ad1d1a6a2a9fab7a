"""The README tells the truth: its Python runs, its SQL answers, its commands exist."""

import re
from pathlib import Path

import click
import pytest

from tracestore import TraceStore
from tracestore.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_python_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (source,) = blocks("python")
    exec(compile(source, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert '- provider.request 1.0s {model="gpt-4o", inputTokens=1764}' in printed
    assert "[('gpt-4o', 1764)]" in printed
    with TraceStore("traces", create=False) as store:
        assert [record.body for record in store.get_turn("t1")] == ['{"messages": [...]}', '{"id": ...}']


@pytest.mark.parametrize("question", re.split(r"\n\n", blocks("sql")[0].strip()), ids=lambda text: text.splitlines()[0])
def test_every_question_has_an_answer(question, memory_store):
    """The rows do not matter here, the names do: a view or column that is gone fails."""
    assert memory_store.sql(question).columns


def test_there_are_five_questions():
    assert blocks("sql")[0].count(";") == 5


def test_every_command_that_is_shown_exists():
    shown = set(re.findall(r"^(?:`)?tracestore ([a-z]+)", README, re.MULTILINE)) | set(
        re.findall(r"`tracestore ([a-z]+)", README)
    )
    assert {"collect", "list", "view", "body", "query", "prune"} <= shown
    assert shown <= set(main.list_commands(click.Context(main)))


def test_only_the_two_commands_of_make_are_named():
    assert set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)) == {"demo", "test"}
