"""How many chains of each queue have left, and who waits for that."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..chain import TOKEN
from .parameters import check_queues, check_quota
from .poll_layout import queue_shape

__all__ = ["Room", "wake_batch"]


def wake_batch(quota: int) -> int:
    """Number of chains that must have left before a queue without room is looked at again.

    More than one, as otherwise a loaded queue's entries would be read one by one; few enough, as those
    that are left must keep the device busy meanwhile.
    """
    return max(1, min(8, quota // 4))


class Room(wiring.Component):
    """Count released tokens, and wake a queue that was parked because all its tokens were in use.

    Parameters
    ----------
    queues : :class:`int`
        Number of virtqueues, 1 to 256.
    quota : :class:`int`
        Tokens of a queue; a power of two from 1 to 256.

    Members
    -------
    released : :py:`In(stream.Signature(TOKEN, always_ready=True))`
        Tokens, in each queue's order.
    woken : :py:`Out(stream.Signature(queue, always_ready=True))`
        A parked queue; three cycles after the token it waited for. It is parked no more.
    select : :py:`In(queue)`
        Queue that the following members are about, one cycle later.
    count : :py:`Out(log2(quota) + 1)`
        Number of tokens of it that were released, modulo ``2 * quota``.
    changing : :py:`Out(1)`
        There is one more in this cycle: the queue must not be parked.
    parked : :py:`Out(1)`
    park : :py:`In(1)`, at : :py:`In(log2(quota))`
        Park it until the token with this sequence is released, modulo ``quota``.
    block : :py:`In(queue)`, block_count : :py:`Out(log2(quota) + 1)`
        The count of a second queue, likewise.
    clear : :py:`In(1)`, clear_queue : :py:`In(queue)`
        Forget all of this queue; only while not ``busy``.
    busy : :py:`Out(1)`
    """

    def __init__(self, *, queues: int, quota: int):
        self.queues = check_queues(queues)
        self.quota = check_quota(quota, queues)
        shape, bits = queue_shape(queues), exact_log2(quota)
        super().__init__(
            {
                "released": In(stream.Signature(TOKEN, always_ready=True)),
                "woken": Out(stream.Signature(shape, always_ready=True)),
                "select": In(shape),
                "count": Out(bits + 1),
                "changing": Out(1),
                "parked": Out(1),
                "park": In(1),
                "at": In(bits),
                "block": In(shape),
                "block_count": Out(bits + 1),
                "clear": In(1),
                "clear_queue": In(shape),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the counters; a queue is parked while its two marks, one in each memory, differ."""
        m = Module()
        shape, bits = queue_shape(self.queues), exact_log2(self.quota)
        counter = data.StructLayout({"count": bits + 1, "mark": 1})
        waiter = data.StructLayout({"at": bits, "mark": 1})
        m.submodules.counters = counters = Memory(shape=counter, depth=self.queues, init=[])
        m.submodules.waiters = waiters = Memory(shape=waiter, depth=self.queues, init=[])
        put_counter, put_waiter = counters.write_port(), waiters.write_port()
        counted = counters.read_port(transparent_for=[put_counter])
        waits = waiters.read_port(transparent_for=[put_waiter])
        shown, shown_waiter = counters.read_port(transparent_for=[put_counter]), waiters.read_port()

        second = counters.read_port()
        m.d.comb += [second.addr.eq(self.block), self.block_count.eq(second.data.count)]

        # Releases: read in the first cycle, written in the second one
        valid, wakes, queue, selected = Signal(), Signal(), Signal(shape), Signal(shape)
        leaving = self.released.payload[bits:]
        m.d.sync += [valid.eq(self.released.valid), queue.eq(leaving), selected.eq(self.select)]
        m.d.comb += [
            self.busy.eq(valid),
            counted.addr.eq(leaving),
            waits.addr.eq(leaving),
            put_counter.addr.eq(queue),
            put_counter.en.eq(valid),
            put_counter.data.count.eq(counted.data.count + 1),
            put_counter.data.mark.eq(waits.data.mark),
            wakes.eq(valid & (counted.data.mark != waits.data.mark)),
        ]
        m.d.sync += [self.woken.payload.eq(queue), self.woken.valid.eq(wakes)]
        if bits:
            with m.If(counted.data.count[:bits] != waits.data.at):
                m.d.comb += [wakes.eq(0), put_counter.data.mark.eq(counted.data.mark)]

        # The poller's side
        m.d.comb += [
            shown.addr.eq(self.select),
            shown_waiter.addr.eq(self.select),
            self.count.eq(shown.data.count),
            self.parked.eq(shown.data.mark != shown_waiter.data.mark),
            self.changing.eq(valid & (queue == selected)),
            put_waiter.addr.eq(selected),
            put_waiter.en.eq(self.park),
            put_waiter.data.at.eq(self.at),
            put_waiter.data.mark.eq(~shown.data.mark),
        ]
        with m.If(self.clear):
            for port in (put_counter, put_waiter):
                m.d.comb += [port.addr.eq(self.clear_queue), port.data.eq(0), port.en.eq(1)]
        return m
