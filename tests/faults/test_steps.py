"""The table of steps, the zygote and the oracle themselves: a campaign is worth what they are."""

import os
import time

import pytest

from tests.faults import acks, oracle, steps, workload
from tests.faults.zygote import Zygote


@pytest.fixture(scope="module")
def zygote():
    with Zygote() as zygote:
        yield zygote


@pytest.mark.parametrize("name", steps.STEPS)
def test_a_step_of_the_table_is_there(name):
    owner, attribute = steps.STEPS[name].owner()
    assert callable(getattr(owner, attribute))


def test_a_cycle_comes_to_every_step(zygote, tmp_path):
    done = zygote.run(steps.count_steps, _live, str(tmp_path))
    assert [name for name, times in done.value.items() if not times] == []


def _live(root, seed=1, cycles=1):
    return workload.run(f"{root}/store", f"{root}/app.ndjson", seed, acks.appending_to(f"{root}/acks"), cycles=cycles)
