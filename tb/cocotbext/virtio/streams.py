"""Ends of valid/ready streams of the design under test; asleep while there is nothing to move.

All act on rising clock edges, where a test bench sees the values from before the edge. A payload is
one packed value and costs one access to the simulator per beat.
"""

import random
from collections import deque
from collections.abc import Callable
from typing import Any

import cocotb
from cocotb.triggers import Event, RisingEdge

__all__ = ["Sink", "Source", "Stream"]


class Stream:
    """The three ports of the stream ``name`` of ``dut``, as Amaranth names them."""

    def __init__(self, dut: Any, name: str):
        self.name = name
        self.valid, self.ready, self.payload = (
            getattr(dut, f"{name}__{member}") for member in ("valid", "ready", "payload")
        )


class Source:
    """Drive a stream into the design.

    Parameters
    ----------
    clk
        Clock.
    stream
        Ports; the design has ``ready``.
    stall
        Probability of a pause before each beat, in each cycle.
    seed
        For the pauses.
    """

    def __init__(self, *, clk: Any, stream: Stream, stall: float = 0.0, seed: int = 0):
        self.stall = stall
        self._edge = RisingEdge(clk)
        self._stream = stream
        self._rng = random.Random(f"{stream.name} {seed}")
        self._queue: deque[tuple[int, Callable[[], None] | None]] = deque()
        self._wake = Event()
        stream.valid.value = 0
        stream.payload.value = 0
        cocotb.start_soon(self._run())

    def put(self, payload: int, accepted: Callable[[], None] | None = None) -> None:
        """Queue one beat; ``accepted`` is called at the edge where the design takes it."""
        self._queue.append((payload, accepted))
        self._wake.set()

    def __len__(self) -> int:
        return len(self._queue)

    async def _run(self) -> None:
        valid, ready, payload = self._stream.valid, self._stream.ready, self._stream.payload
        becomes_ready = RisingEdge(ready)
        driving = False
        while True:
            if not self._queue or self._rng.random() < self.stall:
                if driving:
                    valid.value = 0
                    driving = False
                if not self._queue:
                    self._wake.clear()
                    await self._wake.wait()
                await self._edge
                continue
            value, accepted = self._queue.popleft()
            payload.value = value
            if not driving:
                valid.value = 1
                driving = True
            await self._edge
            while not ready.value:
                await becomes_ready
                await self._edge
            if accepted is not None:
                accepted()


class Sink:
    """Take a stream out of the design.

    ``valid`` and the payload have to stay while the design waits; ``on_error`` is called with a
    sentence if they do not.

    Parameters
    ----------
    clk
        Clock.
    stream
        Ports; the design has ``valid`` and ``payload``.
    on_beat
        Called with the payload of each beat, at the edge where it is taken. It returns whether
        the sink can take more; if not, :meth:`resume` has to follow.
    stall
        Probability of ``ready`` being low, in each cycle.
    seed
        For the pauses.
    on_error
        Told of a broken handshake.

    Attributes
    ----------
    in_reset
        Whether the design is, so that what it offers does not count.
    """

    def __init__(
        self,
        *,
        clk: Any,
        stream: Stream,
        on_beat: Callable[[int], bool],
        stall: float = 0.0,
        seed: int = 0,
        on_error: Callable[[str], None],
    ):
        self.stall = stall
        self._edge = RisingEdge(clk)
        self._stream = stream
        self._on_beat, self._on_error = on_beat, on_error
        self._rng = random.Random(f"{stream.name} {seed}")
        self.in_reset = False
        self._open = Event()
        self._open.set()
        stream.ready.value = 1
        cocotb.start_soon(self._run())

    def resume(self) -> None:
        """Take beats again."""
        self._open.set()

    async def _run(self) -> None:
        valid, ready, payload = self._stream.valid, self._stream.ready, self._stream.payload
        becomes_valid = RisingEdge(valid)
        taking = idle = True
        waiting: int | None = None
        while True:
            if not self._open.is_set():
                ready.value = 0
                taking = False
                await self._open.wait()
            elif idle and not valid.value:
                await becomes_valid
            want = self._rng.random() >= self.stall
            if want != taking:
                ready.value = int(want)
                taking = want
            await self._edge
            idle = self.in_reset or not valid.value
            if idle:
                if waiting is not None and not self.in_reset:
                    self._on_error(f"{self._stream.name}: valid fell before ready came")
                waiting = None
                continue
            value = int(payload.value)
            if waiting not in (None, value):
                self._on_error(f"{self._stream.name}: payload changed before ready came")
            waiting = None if taking else value
            if taking and not self._on_beat(value):
                self._open.clear()
