"""The rules of the house: sizes, names, docstrings, layers."""

import ast
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
MODULES = sorted(path for package in ("blobs", "tracestore") for path in (REPOSITORY / package).rglob("*.py"))
BANNED = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "core", "base_utils", "config"}
MODULE_LINES = 400
FUNCTION_LINES = 60
FOLDER_ENTRIES = 18
SUMMARY_WORDS = 20


def named(path):
    return str(path.relative_to(REPOSITORY))


@pytest.fixture(params=MODULES, ids=named)
def module(request):
    return request.param, ast.parse(request.param.read_text())


def test_a_module_says_in_one_line_what_it_is(module):
    path, tree = module
    first = (ast.get_docstring(tree) or "").split("\n")[0]
    assert first, f"{named(path)} has no docstring"
    assert first.endswith((".", "?", ":")), f"{named(path)}: {first}"
    assert len(first.split()) <= SUMMARY_WORDS, f"{named(path)}: {first}"


def test_a_module_and_its_functions_can_be_read_at_once(module):
    path, tree = module
    assert len(path.read_text().splitlines()) <= MODULE_LINES, named(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < FUNCTION_LINES, f"{named(path)}: {node.name}"


def test_a_module_has_a_name_of_its_own(module):
    path, _ = module
    assert not BANNED.intersection((path.stem, *path.relative_to(REPOSITORY).parts[:-1])), named(path)


def test_what_a_package_exports_is_sorted_and_there(module):
    path, tree = module
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = ast.literal_eval(node.value)
            assert len(set(names)) == len(names)
            constants = [name for name in names if name.isupper()]
            classes = [name for name in names if not name.isupper() and name[0].isupper()]
            functions = [name for name in names if name[0].islower()]
            assert names == [*sorted(constants), *sorted(classes), *sorted(functions)], named(path)
            home = importlib.import_module(".".join(path.relative_to(REPOSITORY).parts[:-1]))
            assert [name for name in names if not hasattr(home, name)] == []


def test_only_the_command_line_prints(module):
    path, tree = module
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"]
    assert not calls or "cli" in path.parts, named(path)


def test_nothing_is_left_for_later(module):
    path, _ = module
    text = path.read_text()
    assert not [word for word in ("TODO", "FIXME", "XXX", "NotImplementedError") if word in text], named(path)


def test_duckdb_and_arrow_are_imported_in_one_place(module):
    path, tree = module
    if "database" in path.parts:
        return
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [getattr(node, "module", None) or node.names[0].name for node in imports]
    assert not {name.split(".")[0] for name in names} & {"duckdb", "arro3"}, named(path)


def test_a_folder_holds_no_more_than_one_can_oversee():
    for folder in {path.parent for path in MODULES}:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(("__", ".", "py.typed"))]
        assert len(entries) <= FOLDER_ENTRIES, named(folder)


def test_no_test_folder_is_a_package():
    """`tests/blobs/__init__.py` would make `import blobs` find the tests."""
    assert list((REPOSITORY / "tests").rglob("__init__.py")) == []


def test_the_layers_hold():
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or shutil.which("lint-imports")
    if command is None:
        pytest.skip("import-linter is not installed")
    done = subprocess.run([command, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
