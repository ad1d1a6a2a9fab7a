"""The group of commands: knows every command's line of help without loading it."""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click

from tracestore.cli.failures import exit_code_of

_COMPLETION = "_TRACESTORE_COMPLETE"
"""Set by the shell when it asks what may follow; see "shell completion" in Click's manual."""


class CommandGroup(click.Group):
    """Loads ``tracestore.cli.<family>.<name>`` for a command, and turns every failure into an exit code."""

    def __init__(self, families: Mapping[str, Mapping[str, str]], **settings: Any) -> None:
        """``families`` gives the line of help of every command, by the package that it is in."""
        super().__init__(**settings)
        self._families = {name: family for family, commands in families.items() for name in commands}
        self._help_lines = {name: line for commands in families.values() for name, line in commands.items()}
        self.params.append(
            click.Option(
                ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_print_version,
                help="Print the version and exit.",
            )
        )  # fmt: skip

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return list(self._help_lines)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        if cmd_name not in self._help_lines:
            return None
        name = "import_" if cmd_name == "import" else cmd_name  # a keyword of Python
        command: click.Command = importlib.import_module(
            f"tracestore.cli.{self._families[cmd_name]}.{name}"
        ).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without loading them."""
        for family in dict.fromkeys(self._families.values()):
            with formatter.section(f"Commands for {family}"):
                formatter.write_dl([entry for entry in self._help_lines.items() if self._families[entry[0]] == family])

    def main(  # type: ignore[override]  # it always exits, as standalone mode does
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        **extra: Any,
    ) -> NoReturn:
        """Run a command line and exit with its code."""
        if _COMPLETION in os.environ:
            super().main(args, prog_name, complete_var, **extra)
        arguments = list(sys.argv[1:] if args is None else args)

        def run() -> None:
            with self.make_context(prog_name or "tracestore", arguments, **extra) as context:
                self.invoke(context)

        as_json = "--json" in arguments  # make_context empties the list, and may fail before it has read it
        sys.exit(exit_code_of(run, as_json=as_json))


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"tracestore {version('tracestore')}")
        except PackageNotFoundError:
            click.echo("tracestore, run from its sources")
        ctx.exit()
