import importlib
from collections.abc import Callable
from typing import Any

import click
import pytest

from tracestore import errors
from tracestore.cli import main

HEAVY = ("duckdb", "arro3", "rich", "msgspec", "isal", "blake3", "pandas", "pyarrow")
COMMANDS = ["collect", "view", "list", "show", "body", "query", "prune", "verify", "repair", "backup", "restore"]
COMMANDS += ["stats", "import", "demo", "pack", "unpack", "forget", "rebuild"]


def leaves() -> list[tuple[str, click.Command]]:
    context = click.Context(main)
    commands = [(name, main.get_command(context, name)) for name in main.list_commands(context)]
    found: list[tuple[str, click.Command]] = []
    for name, command in commands:
        assert command is not None
        subcommands = command.commands if isinstance(command, click.Group) else {}
        found += [(f"{name} {sub}", one) for sub, one in subcommands.items()] or [(name, command)]
    return found


def test_the_help_names_every_command_and_every_exit_code(cli: Callable[..., Any]) -> None:
    result = cli("--help")

    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in result.stdout
    codes = {error.exit_code for error in vars(errors).values() if isinstance(error, type)} | {0, 130}
    for code in codes:
        assert f"\n    {code} " in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_help_in_the_group_is_that_of_the_command(name: str) -> None:
    command = main.get_command(click.Context(main), name)

    assert command is not None
    assert command.short_help == main._help_lines[name]


@pytest.mark.parametrize(("name", "command"), leaves())
def test_every_command_takes_store_and_json_and_has_help(
    name: str, command: click.Command, cli: Callable[..., Any]
) -> None:
    options = {option for parameter in command.params for option in parameter.opts}

    assert {"--store", "--json"} <= options
    assert cli(*name.split(), "--help").exit_code == 0
    assert command.help


def test_the_help_and_the_package_load_nothing_heavy(python: Callable[..., Any]) -> None:
    code = (
        "import sys, tracestore\n"
        "from tracestore.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )

    assert python("-c", code).stderr.strip() == "[]"


def test_every_name_of_the_package_is_there_although_loaded_late() -> None:
    import tracestore

    for name in tracestore.__all__:
        assert getattr(tracestore, name) is not None
    assert set(tracestore.__all__) <= set(dir(tracestore))
    with pytest.raises(AttributeError, match="no attribute 'TraceStorm'"):
        _ = tracestore.TraceStorm


def test_without_a_command_the_help_is_shown_and_it_is_a_bad_usage(cli: Callable[..., Any]) -> None:
    result = cli()

    assert result.exit_code == 2
    assert "Commands for reading:" in result.stderr


def test_a_command_is_loaded_by_the_name_it_is_called_with() -> None:
    assert importlib.import_module("tracestore.cli.recording.import_").command.name == "import"
    assert main.get_command(click.Context(main), "nope") is None


def test_python_m_runs_the_command_line(python: Callable[..., Any]) -> None:
    assert python("-m", "tracestore", "--help").stdout.startswith("Usage: tracestore ")
