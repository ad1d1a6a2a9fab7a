"""The table of steps and the zygote: a campaign is worth what they are."""

import signal
import time

import pytest

from tests.faults import acks, kill, steps, workload
from tests.faults.zygote import Zygote


@pytest.fixture(scope="module")
def zygote():
    with Zygote() as zygote:
        yield zygote


@pytest.mark.parametrize("name", steps.ALL_STEPS)
def test_a_step_of_the_table_is_there(name):
    owner, attribute = steps.ALL_STEPS[name].owner()
    assert callable(getattr(owner, attribute))


def test_a_cycle_comes_to_every_step(zygote, tmp_path):
    hits = zygote.run(steps.count_steps, live, str(tmp_path)).value
    assert [name for name in steps.STEPS if not hits[name]] == []


def test_a_rebuild_comes_to_every_step_of_its_own(zygote, tmp_path):
    zygote.run(live, str(tmp_path))
    (tmp_path / "store" / "records.duckdb").unlink()
    hits = zygote.run(steps.count_steps, live, str(tmp_path)).value
    assert [name for name in steps.REBUILD_STEPS if not hits[name]] == []


@pytest.mark.parametrize(("when", "is_there"), [("before", False), ("after", True)])
def test_a_process_dies_at_the_step_it_was_told(zygote, tmp_path, when, is_there):
    outcome = zygote.run(die_at, str(tmp_path), "blobs published", when)
    assert outcome.was_killed
    assert bool(list(tmp_path.glob("store/blobs/objects/??/*.gz"))) == is_there


def test_a_run_of_the_same_seed_promises_the_same(zygote, tmp_path):
    promised = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert zygote.run(live, str(tmp_path / name)).value > 40
        promised.append(acks.read(tmp_path / name / "acks"))
    assert promised[0] == promised[1]


def test_a_step_that_was_taken_away_is_back_after_the_block():
    owner, name = steps.STEPS["blob file sync"].owner()
    whole = getattr(owner, name)
    with steps.without("blob file sync"):
        assert getattr(owner, name) is not whole
    assert getattr(owner, name) is whole


def test_a_sync_can_be_taken_away_at_one_place_alone(zygote, tmp_path):
    whole = zygote.run(steps.sync_places, live, str(tmp_path)).value
    assert "blob directory sync @ blobs/objects/*" in whole
    assert "blob directory sync @ blobs/objects" in whole
    (tmp_path / "less").mkdir()
    less = zygote.run(places_without, str(tmp_path / "less"), "blob directory sync @ blobs/objects").value
    assert whole - less == {"blob directory sync @ blobs/objects"}


def test_a_name_that_is_no_safety_step_is_refused():
    with pytest.raises(ValueError, match=r"wanted .* found 'rows committed'"):
        steps.remove("rows committed")


def test_the_zygote_tells_what_a_child_returned_raised_or_died_of(zygote):
    assert zygote.run(divmod, 7, 2).value == (3, 1)
    assert "ZeroDivisionError" in zygote.run(divmod, 7, 0).error
    child = zygote.start(time.sleep, 60)
    child.kill()
    assert child.wait().was_killed
    assert zygote.run(signal.raise_signal, signal.SIGTERM).signal == signal.SIGTERM


def test_a_child_that_hangs_is_ended(zygote):
    outcome = zygote.start(time.sleep, 60).wait(timeout_s=0.05)
    assert outcome.hung
    assert not outcome.was_killed


def test_tries_come_to_every_step_before_and_after():
    hits = dict.fromkeys(steps.STEPS, 2)
    tried = {(attempt.step, attempt.when, attempt.nth) for attempt in kill.tries(8 * len(hits), 1, hits)}
    wanted = {(step, when, nth) for step in hits for when in ("before", "after") for nth in (1, 2)}
    assert tried - {(None, "before", 1)} == wanted


def live(root, seed=3):
    return workload.run(f"{root}/store", f"{root}/app.ndjson", seed, acks.appending_to(f"{root}/acks"))


def die_at(root, step, when):
    steps.kill_at(step, when)
    live(root)


def places_without(root, name):
    return steps.sync_places(live_without, root, name)


def live_without(root, name):
    steps.remove(name)  # over what takes note, so that what is gone is not noted
    live(root)
