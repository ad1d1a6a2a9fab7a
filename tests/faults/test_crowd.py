"""The crowd in its short form, and whether it would notice a lost record."""

import random

from tests.faults import crowd


def test_what_was_flushed_is_collected_once_whoever_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(crowd, "SECONDS", 3.0)
    writers, kills = crowd.record_and_kill(tmp_path / "store", random.Random(1))
    assert kills
    assert crowd.broken_promises(tmp_path / "store", writers) == []
    writers[0].flushed["0 9"] = 0
    assert len(crowd.broken_promises(tmp_path / "store", writers)) == 3
