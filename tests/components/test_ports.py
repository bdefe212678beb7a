"""A port is found wherever the wanted ones are taken."""

from __future__ import annotations

import socket

from components import ports


def test_the_wanted_port_then_one_near_it_then_any() -> None:
    base = ports.free("127.0.0.1", 0)
    near = range(base, min(base + ports.STEP * ports.NEAR, 65_536), ports.STEP)

    assert ports.free("127.0.0.1", base) == base
    held, ours = [], set()
    try:
        for port in near:
            held.append(socket.socket())
            try:
                held[-1].bind(("127.0.0.1", port))
            except OSError:
                continue  # somebody else has it for now, and may give it back at any time
            ours.add(port)
            if port == base:
                assert ports.free("127.0.0.1", base) in near[1:]
        found = ports.free("127.0.0.1", base)
        assert found not in ours
        assert ports.free("127.0.0.1", 0, {found}) != found
    finally:
        for one in held:
            one.close()
