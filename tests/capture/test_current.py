"""The current span: for those who opt in, and for nobody else."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tracestore.capture import carried, current_span


@pytest.fixture
def recorder(recorder_of, journal):
    return recorder_of(journal.path, in_context=True)


@pytest.fixture
def parents(recorder, journal):
    """`parents()` names, for each span and log, the span it was recorded in."""

    def read():
        recorder.flush()
        records = journal.records()
        names = {record["spanId"]: record["name"] for record in records if "name" in record}
        found = {}
        for record in records:
            if record["kind"] == "span-open":
                found[record["name"]] = names.get(record.get("parentSpanId"))
            elif record["kind"] == "log":
                found[record["msg"]] = names.get(record.get("spanId"))
        return found

    return read


def test_what_is_recorded_inside_a_span_hangs_below_it(recorder, parents, journal):
    with recorder.span("a") as a:
        with recorder.span("b"):
            recorder.info("in b")
            assert current_span() is not a
        recorder.info("in a")
        assert current_span() is a
    recorder.info("in none")
    assert current_span() is None
    assert parents() == {"a": None, "b": "a", "in b": "b", "in a": "a", "in none": None}
    assert {record["turnId"] for record in journal.records() if record.get("msg") != "in none"} == {a.turn_id}


def test_what_is_said_of_the_parent_outright_counts_more(recorder, parents):
    with recorder.span("a") as a, recorder.span("b"):
        recorder.child(parent_span_id=a.span_id).info("of a")
        a.child("c").end()
    assert parents() == {"a": None, "b": "a", "of a": "a", "c": "a"}


def test_a_child_recorder_keeps_its_own_turn(recorder, journal):
    with recorder.span("a"):
        recorder.child(turn_id="mine").info("said")
    recorder.flush()
    assert [record["turnId"] for record in journal.records() if "msg" in record] == ["mine"]


def test_an_exception_leaves_no_span_behind(recorder):
    with pytest.raises(ZeroDivisionError), recorder.span("a"), recorder.span("b"):
        raise ZeroDivisionError
    assert current_span() is None


def test_tasks_each_have_their_own(recorder, parents):
    async def work(number):
        with recorder.span(f"task {number}"):
            await asyncio.sleep(0)
            recorder.info(f"first {number}")
            await asyncio.gather(said(number), asyncio.to_thread(recorder.info, f"thread {number}"))

    async def said(number):
        await asyncio.sleep(0)
        recorder.info(f"second {number}")

    async def main():
        with recorder.span("all"):
            await asyncio.gather(*(work(number) for number in range(20)))
            assert current_span() is not None

    asyncio.run(main())
    expected = {"all": None}
    for number in range(20):
        of_task = dict.fromkeys((f"first {number}", f"second {number}", f"thread {number}"), f"task {number}")
        expected |= {f"task {number}": "all"} | of_task
    assert parents() == expected


def test_a_cancelled_task_ends_its_span(recorder, journal):
    async def main():
        entered = asyncio.Event()

        async def work():
            with recorder.span("step"):
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    recorder.flush()
    closed = journal.records()[-1]
    assert (closed["status"], closed["attributes"]["error.type"]) == ("error", "CancelledError")


def test_what_goes_on_behind_a_span_stays_its_child(recorder, parents):
    async def main():
        with recorder.span("request"):
            is_over = asyncio.Event()

            async def later():
                await is_over.wait()
                recorder.info("in the background")

            task = asyncio.create_task(later())
        is_over.set()
        await task

    asyncio.run(main())
    assert parents() == {"request": None, "in the background": "request"}


def test_a_span_entered_twice_is_left_with_its_first_end(recorder):
    with recorder.span("a") as a, a:
        pass
    assert current_span() is None


def test_a_thread_begins_without_one_and_carried_brings_it(recorder, parents):
    def work(name):
        with recorder.span(name):
            recorder.info(f"in {name}")

    with recorder.span("all"):
        brought = carried(work)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(brought, ["a", "b", "c", "d"]))
        thread = threading.Thread(target=work, args=("alone",))
        thread.start()
        thread.join()
    inside = {f"in {name}": name for name in ("a", "b", "c", "d", "alone")}
    assert parents() == {"all": None, "alone": None} | inside | dict.fromkeys("abcd", "all")


def test_carried_gives_back_what_the_function_does(recorder):
    @carried
    def add(one, *, other):
        """Adds."""
        return one + other

    assert add(1, other=2) == 3
    assert (add.__name__, add.__doc__) == ("add", "Adds.")

    def fail():
        raise KeyError("lost")

    with pytest.raises(KeyError):
        carried(fail)()


def test_a_generator_may_be_finished_by_another_task(recorder, parents):
    async def chunks():
        with recorder.span("stream"):
            yield 1
            yield 2

    async def main():
        stream = chunks()
        assert await anext(stream) == 1

        async def finish():
            await stream.aclose()
            recorder.info("behind")

        await asyncio.create_task(finish())

    with recorder.span("all"):
        asyncio.run(main())
    assert current_span() is None
    assert parents() == {"all": None, "stream": "all", "behind": "all"}


def test_a_generator_that_nobody_finishes_harms_nobody(recorder, parents):
    def chunks():
        with recorder.span("stream"):
            yield 1

    with recorder.span("all"):
        stream = chunks()
        next(stream)
    assert current_span() is None
    del stream
    assert current_span() is None
    recorder.info("behind")
    assert parents() == {"all": None, "stream": "all", "behind": None}


def test_who_does_not_opt_in_has_no_current_span(recorder_of, tmp_path):
    plain = recorder_of(tmp_path / "plain")
    with plain.span("a") as a:
        assert current_span() is None
        assert plain.span("b").turn_id != a.turn_id


def test_a_recorder_that_does_not_opt_in_takes_no_notice(recorder, recorder_of, tmp_path):
    plain = recorder_of(tmp_path / "plain")
    with recorder.span("a") as a:
        assert plain.span("b").turn_id != a.turn_id
