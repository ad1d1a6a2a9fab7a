"""What a campaign takes for an error of ours, for a foreign one, and for a bad end."""

import errno
import os
import signal

import pytest

from tests.faults import lives
from tests.faults.kill import Place
from tests.faults.zygote import Outcome
from tracestore import StoreUnavailable
from tracestore.journal import disk


def events_of(do):
    events = []
    with lives.noting_errors(events.append):
        do()
    return [event["op"] for event in events]


def fails(*_):
    raise OSError(errno.EIO, "a disk that fails")


def unavailable():
    raise StoreUnavailable(errno.EIO, "the store says so itself")


def test_errors_of_the_store_are_told_apart_from_what_slips_through_it(monkeypatch):
    assert events_of(lambda: None) == []
    assert events_of(unavailable) == ["failed"]
    assert events_of(fails) == ["failed"], "the producer's own call, no matter of the store"
    monkeypatch.setattr(os, "write", fails)
    assert events_of(lambda: disk.write_all(1, b"through the store's code")) == ["foreign"]


@pytest.mark.parametrize(
    ("outcome", "events", "may_die", "bad"),
    [
        (Outcome(), [lives.ENDED], False, None),
        (Outcome(), [{"op": "failed", "error": "ours"}, lives.ENDED], False, None),
        (Outcome(signal=signal.SIGKILL), [], True, None),
        (Outcome(signal=signal.SIGKILL, hung=True), [], True, "it hung"),
        (Outcome(signal=signal.SIGABRT), [], True, "ended by signal 6"),
        (Outcome(error="a traceback"), [], False, "without a word"),
        (Outcome(), [{"op": "foreign", "error": "theirs"}, lives.ENDED], False, "not ours: theirs"),
    ],
)
def test_a_bad_end_is_noticed(outcome, events, may_die, bad):
    found = list(lives.ending(outcome, events, may_die=may_die))
    assert found == [] if bad is None else bad in found[0]


def test_promises_outlive_the_process_and_a_second_one_goes_on_behind_them(tmp_path):
    place = Place(tmp_path)
    lives.acking_in_memory(place.acks)({"op": "first"})
    lives.acking_in_memory(place.acks)({"op": "second"})
    assert lives.read_events(place) == [{"op": "first"}, {"op": "second"}]
