"""What lies beside what in a pack, which decides how much it shrinks and how much a read has to decode."""

import pytest

from blobs import Digest, Run, store
from blobs.packs import frame, packing, window
from blobs.packs.window import Order, Window


def in_packs(local):
    """The bodies of each frame, pack by pack."""
    return [list(local._tier.frame_bodies(pack, n)) for pack in local._tier for n in range(len(pack.seats))]


def window_of(*runs):
    made = Window()
    for place, bodies in enumerate(runs):
        for body in bodies:
            made.put(place, 0, Digest.of(body))
            made.add(Digest.of(body), body)
    return made


def test_small_bodies_stand_first_in_their_frame_and_the_others_stay_in_order(local, kit):
    large, small = [kit.words(n, 80) for n in range(3)], [kit.words(n, 2) for n in range(10, 13)]
    given = [body for pair in zip(large, small, strict=True) for body in pair]
    local.put_many(given)
    local.pack(lambda digests: [Run(0, [Digest.of(body) for body in given])] if digests else [])
    assert in_packs(local) == [small + large]


@pytest.mark.parametrize("as_given", [True, False])
def test_conversations_lie_as_given_or_beside_those_that_begin_alike_as_a_trial_decides(kit, monkeypatch, as_given):
    cost = [2, 1] if as_given else [1, 2]  # by opening, then as given
    monkeypatch.setattr(frame, "trial", lambda bodies: cost.pop(0))
    runs = [[b"b" + kit.words(1)], [b"a" + kit.words(2)], [b"b" + kit.words(3)]]
    given = [Digest.of(run[0]) for run in runs]
    alike = [Digest.of(body) for body in sorted(run[0] for run in runs)]
    assert given != alike
    assert list(Order().of(window_of(*runs))) == (given if as_given else alike)


def test_one_trial_decides_for_some_windows(kit, monkeypatch):
    tried = []
    monkeypatch.setattr(frame, "trial", lambda bodies: tried.append(len(bodies)) or 0)
    order = Order()
    for _ in range(window._TRY_EVERY + 1):
        list(order.of(window_of([kit.words(1)], [kit.words(2)])))
    assert tried == [2, 2, 2, 2]


def test_a_conversation_scattered_over_small_packs_comes_together(local, kit, monkeypatch):
    monkeypatch.setattr(window, "WINDOW_RAW_BYTES", 6_000)
    monkeypatch.setattr(frame, "RAW_BYTES", 6_000)
    monkeypatch.setattr(frame, "FEWEST_BODIES", 1)
    talks = [kit.turns(n, 8) for n in range(4)]
    for turn in range(8):
        kit.staged(local, dict(list(talk.items())[turn] for talk in talks))
    monkeypatch.setattr(window, "_TRIED_BYTES", 0)

    def arrange(digests):
        return [Run(0, [d for d in reversed(talk) if d in set(digests)]) for talk in talks]

    local.pack(arrange)
    local.release(kit.LATER_S)
    frames = [{n for n, talk in enumerate(talks) for body in bodies if Digest.of(body) in talk}
              for bodies in in_packs(local)]  # fmt: skip
    assert max(map(len, frames)) <= 2
    assert len(list(local._tier)) == 1
    for talk in talks:
        kit.holds(local, talk)


def test_a_body_that_reads_differently_the_second_time_stays_where_it_is(local, kit, monkeypatch):
    kit.staged(local, kit.turns(0, 6))
    kit.staged(local, kit.turns(1, 6))
    odd = next(iter(kit.turns(0, 6)))
    real = local._tier.bodies

    def flaky(pack, number, seats):
        return ((seat, b"else" if Digest.of(body) == odd else body) for seat, body in real(pack, number, seats))

    monkeypatch.setattr(local._tier, "bodies", flaky)
    assert local.pack(kit.runs).bodies == 11
    local.release(kit.LATER_S)
    kit.holds(local, kit.turns(0, 6) | kit.turns(1, 6))


def test_a_group_of_small_packs_ends_where_it_is_large_enough(local, kit, monkeypatch):
    for n in range(5):
        kit.staged(local, kit.turns(n, 4))
    packs = list(local._tier)
    monkeypatch.setattr(packing, "GROUP_RAW_BYTES", 2 * packs[0].footer.raw_bytes)
    assert [len(group) for group in packing._groups(packs)] == [2, 2, 1]


@pytest.mark.parametrize(
    ("count", "size_bytes", "is_pack"),
    [(31, 140_000, False), (32, 131_072, True), (32, 131_071, False), (255, 10, False), (256, 10, True)],
)
def test_a_batch_becomes_a_pack_when_its_bodies_are_many_or_large(local, count, size_bytes, is_pack):
    bodies = [n.to_bytes(2, "big") * (size_bytes // 2) + b"x" * (size_bytes % 2) for n in range(count)]
    staged = local.stage({Digest.of(body): body for body in bodies})
    assert (staged.pack is not None) is is_pack
    local.discard(staged)
    assert (store.PACKED_FROM_BODIES, store.PACKED_FROM_LARGE) == (256, (32, 4 * 2**20))
