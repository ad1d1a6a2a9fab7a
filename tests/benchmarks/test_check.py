"""The guard calls lost what lost beyond noise, misses nothing, and says so with its exit code."""

import json
import sys
from dataclasses import replace

import pytest

from benchmarks import __main__ as command
from benchmarks import check as guard
from benchmarks.check import Ratio, check, compare, judge, pooled, record
from benchmarks.harness import Figure, Options, Run, at_least, at_most
from benchmarks.workloads import startup

REFERENCE_ROUNDS = (3.8, 4.0, 4.2)


@pytest.mark.parametrize(
    ("rounds", "verdict"),
    [
        ((2.8, 3.0, 3.2), "lost"),
        ((2.8, 3.0, 3.9), "held"),  # one round as good as the reference's worst: noise
        ((3.65, 3.7, 3.75), "held"),  # every round worse, but less than a tenth
        ((3.9, 4.1, 4.3), "held"),
        ((4.1, 5.0, 5.5), "held"),  # one round no better than the reference's best
        ((4.8, 5.0, 5.2), "gained"),
    ],
)
def test_a_ratio_is_judged_by_median_and_spread(rounds, verdict):
    assert judge(Ratio(REFERENCE_ROUNDS), Ratio(rounds)) == verdict


@pytest.mark.parametrize(("rounds", "verdict"), [((1.3, 1.4), "lost"), ((0.9, 1.1), "held"), ((0.6, 0.7), "gained")])
def test_less_is_better_where_the_bar_says_at_most(rounds, verdict):
    assert judge(Ratio((1.0, 1.02, 1.1), True), Ratio(rounds, True)) == verdict


def test_what_was_measured_once_needs_a_tenth_to_be_lost():
    """Bytes on disk have no spread."""
    assert judge(Ratio((96.0,)), Ratio((87.0,))) == "held"
    assert judge(Ratio((96.0,)), Ratio((86.0,))) == "lost"


def test_the_worst_comes_first():
    before = {("a", name): Ratio((2.0,)) for name in ("held", "gained", "missing", "lost")}
    now = {("a", "new"): Ratio((1.0,)), ("a", "held"): Ratio((2.0,)), ("a", "gained"): Ratio((3.0,)),
           ("a", "lost"): Ratio((1.0,))}  # fmt: skip
    verdicts = ["lost", "missing", "gained", "new", "held"]
    assert [(one.verdict, one.figure) for one in compare(before, now)] == list(zip(verdicts, verdicts, strict=True))


def test_rounds_of_two_runs_are_put_together():
    first, second = {("a", "x"): Ratio((1.0,)), ("a", "y"): Ratio((5.0,))}, {("a", "x"): Ratio((2.0,))}
    assert pooled(first, second) == {("a", "x"): Ratio((1.0, 2.0)), ("a", "y"): Ratio((5.0,))}


class Machine:
    """Runs workloads that give these values, one list a run and ratio; keeps what it was asked for."""

    def __init__(self, tmp_path, **runs):
        self.options = Options("small", 3, tmp_path)
        self.runs = {name: list(values) for name, values in runs.items()}
        self.asked = []

    def __call__(self, names):
        self.asked.append(list(names))
        run = Run(self.options)
        for name in names:
            values = self.runs[name].pop(0)
            run.workloads[name] = [Figure("seconds", "s", values), Figure("ours", "x", values, at_least(1))]
        return run


@pytest.fixture
def reference(tmp_path):
    path = tmp_path / "reference.json"
    machine = Machine(tmp_path, ingest=[REFERENCE_ROUNDS, (4.1,)], sql=[(20.0,), (21.0,)])
    assert record(["ingest", "sql"], machine, path) == 0
    return path


def test_a_reference_holds_ratios_of_two_runs_and_where_they_came_from(reference):
    content = json.loads(reference.read_text())
    assert {"commit", "machine", "versions"} <= set(content)
    assert content["ratios"] == {
        "ingest": {"ours": {"rounds": [3.8, 4.0, 4.1, 4.2], "is_less_better": False}},
        "sql": {"ours": {"rounds": [20.0, 21.0], "is_less_better": False}},
    }


def test_what_held_exits_with_0(reference, tmp_path, capsys):
    machine = Machine(tmp_path, ingest=[(3.9, 4.0)], sql=[(19.0,)])
    assert check([], machine, reference) == 0
    assert machine.asked == [["ingest", "sql"]]
    assert capsys.readouterr().out == "2 of 2 ratios held\n"


def test_a_loss_that_comes_twice_exits_with_1_and_is_shown(reference, tmp_path, capsys):
    machine = Machine(tmp_path, ingest=[(2.0, 2.2), (2.1, 2.3)], sql=[(19.0,)])
    assert check([], machine, reference) == 1
    assert machine.asked == [["ingest", "sql"], ["ingest"]]
    lost = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("lost"))
    assert " ".join(lost.split()) == "lost ingest ours 4.05x (3.8 .. 4.2) 2.15x (2 .. 2.3)"


def test_a_loss_that_comes_once_is_noise(reference, tmp_path):
    machine = Machine(tmp_path, ingest=[(2.0, 2.2), (3.9, 4.0)], sql=[(19.0,)])
    assert check([], machine, reference) == 0


def test_a_ratio_that_is_gone_exits_with_1(reference, tmp_path, capsys):
    class Silent(Machine):
        def __call__(self, names):
            run = super().__call__(names)
            run.workloads["sql"] = []
            return run

    assert check([], Silent(tmp_path, ingest=[REFERENCE_ROUNDS], sql=[(19.0,)]), reference) == 1
    assert "missing  sql" in capsys.readouterr().out


def test_workloads_that_were_not_named_are_not_missing(reference, tmp_path):
    machine = Machine(tmp_path, sql=[(19.0,)])
    assert check(["sql"], machine, reference) == 0
    assert machine.asked == [["sql"]]


def test_a_workload_without_reference_is_an_error(reference, tmp_path):
    with pytest.raises(SystemExit, match=r"not of prune.*--record"):
        check(["prune"], Machine(tmp_path), reference)


def test_no_reference_at_all_is_an_error(tmp_path):
    with pytest.raises(SystemExit, match="--record"):
        check([], Machine(tmp_path), tmp_path / "none.json")


def test_a_reference_of_another_machine_is_compared_and_said(reference, tmp_path, capsys):
    content = json.loads(reference.read_text())
    content["machine"]["cores"] = 96
    content["versions"]["python"] = "2.7.18"
    reference.write_text(json.dumps(content))
    assert check(["sql"], Machine(tmp_path, sql=[(5.0,), (5.0,)]), reference) == 1
    printed = capsys.readouterr().out
    assert "measured with cores 96, python 2.7.18; this run with cores" in printed
    assert "lost" in printed


def test_a_bar_at_most_and_points_of_a_curve_keep_what_they_are():
    run = Run(Options("small", 1, None))
    growth = Figure("late", "x", [1.1], at_most(3), at=10_000)
    run.workloads["growth"] = [growth, replace(growth, at=1_000_000), Figure("other", "x", [2.0])]
    assert guard.of_run(run) == {
        ("growth", "late at 10,000"): Ratio((1.1,), True),
        ("growth", "late at 1,000,000"): Ratio((1.1,), True),
        ("growth", "other"): Ratio((2.0,), False),
    }


def run_command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    return command.main()


def test_the_command_records_and_checks_a_real_workload(tmp_path, monkeypatch, capsys):
    """Whatever the machine does meanwhile, a tenth of the reference is lost and ten times as much gained."""
    path, work = tmp_path / "reference.json", str(tmp_path / "work")
    monkeypatch.setattr(command, "WORKLOADS", ("startup",))
    monkeypatch.setattr(command, "REFERENCE", path)
    monkeypatch.setattr(startup, "REPEATS", 1)
    assert run_command(monkeypatch, "--check", "--record", "--rounds", "1", "--work", work) == 0
    content = json.loads(path.read_text())
    (name,) = content["ratios"]["startup"]
    for factor, verdict, code in ((0.1, "lost", 1), (10, "gained", 0)):
        changed = json.loads(json.dumps(content))
        rounds = changed["ratios"]["startup"][name]["rounds"]
        changed["ratios"]["startup"][name]["rounds"] = [value * factor for value in rounds]
        path.write_text(json.dumps(changed))
        capsys.readouterr()
        assert run_command(monkeypatch, "--check", "startup", "--rounds", "1", "--work", work) == code
        assert capsys.readouterr().out.splitlines()[1].startswith(verdict)


@pytest.mark.parametrize(
    "arguments", [["--check", "--scale", "full"], ["--check", "--journal", __file__], ["--record", "ingest"]]
)
def test_the_command_refuses_what_the_reference_cannot_answer(arguments, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_command(monkeypatch, *arguments)
    assert stopped.value.code == 2
    assert "reference" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "said"), [(["nothing"], "found nothing"), (["--journal", "/gone"], "at /gone")])
def test_the_command_says_what_it_cannot_run(arguments, said, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_command(monkeypatch, *arguments)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
