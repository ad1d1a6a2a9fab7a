"""Frames of an answer: from a worker to a client that may be slow, or gone."""

import asyncio
import threading

import pytest

from tracestore.serve.calls import WAITING_FRAMES, ClientLeft, Frames


@pytest.fixture
def frames():
    """Frames of a loop that runs in a thread, where nobody takes them."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield Frames(loop)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_progress_does_not_wait_for_a_client_that_does_not_read(frames):
    """A prune shows it under the lock that the collector needs."""
    for done in range(WAITING_FRAMES + 5):
        frames.progress_to_the_end(done, done)
    assert frames._queue.qsize() == WAITING_FRAMES


def test_items_wait_for_the_client_and_end_when_it_is_gone(frames):
    for number in range(WAITING_FRAMES):
        frames.put("item", number)

    def put():
        with pytest.raises(ClientLeft):
            frames.put("item", 0)

    waiting = threading.Thread(target=put)
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    frames._loop.call_soon_threadsafe(frames.abandon)
    waiting.join(20)
    assert not waiting.is_alive()
