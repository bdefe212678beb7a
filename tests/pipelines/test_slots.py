"""Turns are bounded, and those nearer to the root of the graph go first."""

from __future__ import annotations

import threading

from pipelines.local.slots import Slots, cores


def test_so_many_turns_at_once():
    slots, inside, most = Slots(2), [0], []
    lock, everyone = threading.Lock(), threading.Barrier(6)

    def work() -> None:
        everyone.wait()
        with slots.turn(0):
            with lock:
                inside[0] += 1
                most.append(inside[0])
            threading.Event().wait(0.01)
            with lock:
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(most) == 6
    assert max(most) <= 2


def test_what_is_nearer_to_the_root_goes_first_and_then_who_came_first():
    slots, order = Slots(1), []
    threads = []
    with slots.turn(0):
        for number, depth in enumerate((2, 2, 0, 1)):
            asked = len(slots._waiting)
            thread = threading.Thread(target=lambda d=depth, n=number: _note(slots, d, n, order))
            thread.start()
            threads.append(thread)
            while len(slots._waiting) == asked:
                threading.Event().wait(0.001)
    for thread in threads:
        thread.join()

    assert order == [2, 3, 0, 1]


def _note(slots: Slots, depth: int, number: int, order: list[int]) -> None:
    with slots.turn(depth):
        order.append(number)


def test_a_laptop_offers_as_many_as_it_has_cores():
    assert cores() >= 1
