"""What the demo's agent is told and what its tools answer."""

from typing import Any

SYSTEM = """\
You are a coding agent that works in a repository on the user's machine. You read, change and run code through tools.

# How you work
- Read before you change: open every file you are about to edit, and the tests that cover it.
- Make the smallest change that solves the problem. Leave formatting, names and order of code you do not touch alone.
- Run the tests after every change. When they fail, read the whole report before you try again.
- Never claim that something works without having run it. Say what you ran and what it printed.
- When a tool fails, read its message and correct the call. Do not repeat a call that failed unchanged.
- Ask when the request allows two readings that lead to different code; otherwise decide and say how you decided.

# What you never do
- Never delete files, rewrite history or push without being asked to in so many words.
- Never print, store or send credentials. When a file holds one, say so and leave it where it is.
- Never weaken, skip or delete a test to make a run pass. A wrong test is named as such and shown to the user first.
- Never install packages or reach the network unless the user allowed it in this conversation.

# How you write code
- Follow the style of the file: its line length, its quotes, its way to name things, its kind of comment.
- A comment says why, never what. A docstring says what a caller may rely on.
- Errors say what was wanted, what was found and what to do next. They carry the values as fields.
- Values are frozen. Functions are short. A module does one thing, and its first line says which.
- Time, randomness and files are arguments of pure code, so that it can be tested without waiting and without a disk.

# How you answer
- Begin with the result. Then say what you changed, file by file, in one line each.
- Quote at most ten lines of code. The user has an editor.
- Plain words, no praise, no apologies, no summary of what was just said.
- When something is left to do, or was not tested, the last paragraph says so.

# The repository
It is a Python package with a flat layout: modules in one directory, tests beside it in `tests`, one test module for \
each module. Python 3.11 and later. Types are checked strictly, warnings in tests are errors, lines have at most 120 \
characters. The tests run with `python -m pytest`; a single module takes a second, the whole suite two minutes.
"""


def _tool(name: str, description: str, **parameters: str) -> dict[str, Any]:
    """Describe a tool as providers want it; every parameter is required text unless it says a number."""
    properties = {
        parameter: {"type": "integer" if about.startswith("number") else "string", "description": about}
        for parameter, about in parameters.items()
    }
    schema = {"type": "object", "properties": properties, "required": list(parameters), "additionalProperties": False}
    return {"name": name, "description": description, "input_schema": schema}


_PATH = "path of the file, relative to the root of the repository"

TOOLS = [
    _tool("list_files", "List the files below a directory, with their sizes, without those that git ignores.",
          path="directory, relative to the root of the repository"),
    _tool("read_files", "Read files as text. A file of more than 2,000 lines is cut; ask for the rest by line.",
          paths="paths of the files, relative to the root of the repository, with spaces between them"),
    _tool("read_lines", "Read some lines of a file.", path=_PATH, first="number of the first line",
          last="number of the last line"),
    _tool("search", "Find lines that match a regular expression; at most 200 matches, each with its file and number.",
          pattern="regular expression as Python's re module reads it", path="file or directory to look in"),
    _tool("edit_file", "Replace one piece of text in a file. The old text has to stand there exactly once.",
          path=_PATH, old="text to replace, with enough around it to be unique", new="text to put in its place"),
    _tool("write_file", "Write a new file. Refuses where a file is already.", path=_PATH, content="its whole text"),
    _tool("run_tests", "Run tests and return their report; at most ten minutes.",
          target="a test module, a directory, or a test in the form module::name"),
    _tool("run_command", "Run a command in a sandbox without network; returns its output and exit status.",
          command="the command line", timeout="number of seconds after which it is stopped"),
]  # fmt: skip

LISTING = """\
   3,912  tracestore/__init__.py
   9,774  tracestore/collector/collector.py
   1,820  tracestore/errors.py
   9,405  tracestore/ingest.py
   3,288  tracestore/layout.py
   3,446  tracestore/directory/lock.py
   4,101  tracestore/store/opening.py
  13,260  tracestore/store/store.py
   7,031  tracestore/units.py
   8,977  tracestore/views/easy.py
   1,905  tracestore/views/event.py
   1,388  tracestore/views/printable.py
"""

_CASES = (
    "zero", "one_millisecond", "just_below_a_second", "one_second", "one_and_a_half_seconds", "just_below_a_minute",
    "one_minute", "a_minute_and_a_half", "just_below_an_hour", "one_hour", "two_days", "negative", "not_a_number",
)  # fmt: skip


def _report(failing: str | None) -> str:
    lines = [
        f"tests/test_units.py::test_format_duration[{case}] {'FAILED' if case == failing else 'PASSED'}"
        f"{(number + 1) * 100 // len(_CASES):>8}%"
        for number, case in enumerate(_CASES)
    ]
    if failing is None:
        return "\n".join([*lines, f"{len(_CASES)} passed in 0.31s"])
    return "\n".join(
        [
            *lines,
            "_______ test_format_duration _______",
            "    def test_format_duration(duration_ms: float, written: str) -> None:",
            ">       assert format_duration_ms(duration_ms) == written",
            "E       AssertionError: assert '60.0s' == '1m0s'",
            "E         - 1m0s",
            "E         + 60.0s",
            f"FAILED tests/test_units.py::test_format_duration[{failing}]",
            f"1 failed, {len(_CASES) - 1} passed in 0.34s",
        ]
    )


TEST_REPORT_BAD = _report("just_below_a_minute")
TEST_REPORT_GOOD = _report(None)
