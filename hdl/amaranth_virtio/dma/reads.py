"""All reads from host memory: what their channels share."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from ..pcie.arbiter import PacketArbiter
from ..tlp import TlpSignature, check_width
from .completion import CompletionTracker
from .headers import byte_enables, memory_request
from .layout import DmaSettings, read_data_layout, read_request_layout
from .reader import STAMP_BITS, ReadChannel, issue_layout
from .slots import slot_shape
from .split import check_max_bytes

__all__ = ["Client", "Reads"]


class Client(NamedTuple):
    """What somebody who reads has for himself.

    ``tags``
        Reads outstanding at most.
    ``max_bytes``
        Most bytes of one read, and the size of a slot; a power of two from 128 to 4096.
    ``context``
        Shape of what is given back beside the data.
    ``whole``
        No request crosses a multiple of 128 bytes: the client sees to that, and it is not split. Its TLP
        leaves a cycle earlier.
    ``short``
        How many of the tags lie in front of those of the clients behind; the others come behind all. By
        default it is all of them.
    """

    tags: int
    max_bytes: int
    context: Any
    whole: bool = False
    short: int | None = None


def _allotted(clients: Mapping[str, Client]) -> dict[str, tuple[range, range]]:
    """Tags of each client: those in front, in the order of the clients, and those behind all.

    The ones behind are a multiple of a power of two away from where they would be right behind the ones in
    front, so that the lower bits of a tag say which of the client's it is.
    """
    front, first = {}, 0
    for name, client in clients.items():
        short = client.tags if client.short is None else client.short
        front[name] = range(first, first + short)
        first += short
    found = {}
    for name, client in clients.items():
        start, step = front[name].stop, slot_shape(client.tags).width
        if rest := client.tags - len(front[name]):
            start += -(-(first - start) >> step) << step
            first = start + rest
        found[name] = front[name], range(start, start + rest)
    return found


class Reads(wiring.Component):
    """Read host memory for several clients: any length, any alignment, in order.  [PCIe base 5.0 §2.2.7]

    A client has a channel: tags of its own, so that none waits for another one's data. A request is split
    at multiples of ``min(max_bytes, 128 << max_read_request)`` bytes, so that no TLP crosses 4 KiB. Each tag
    has a slot of ``max_bytes``, used in circular order, in which its completions are put together; a slot is
    streamed out when it and all before it are complete, one beat per cycle without a gap. A tag is in use
    from its TLP until its slot was streamed out. One TLP per cycle of all channels in turn, the first three
    cycles after its request, and one more if another channel was served last; none while a completion is
    looked at, in the cycle after its first beat.

    **Errors.** UR, CA, another bad status, poisoned data, a completion that does not fit, or a
    time-out end the client's request with one ``error`` beat behind the data that was good. The
    rest of that request is not issued, or discarded when it comes; later requests go on.

    **Time-out.** A read that is not complete ``timeout`` to ``1.25 * timeout`` cycles after its
    TLP was accepted has failed (looked at for the oldest read of a channel only, so that a failure shows in
    order). Its completion may still be under way and must not be taken for another read's, so the
    channel sends no read until ``timeout`` to ``1.25 * timeout`` cycles went by without another time-out,
    and discards what comes late. So it does after a completion that did not fit.

    **Bus mastering off.** No TLP is offered. One that was offered before stays, as the rule for streams
    demands: it was initiated when that was allowed. Reads under way are completed.

    **Flush.** While high, requests are taken and dropped, no data is valid (a waiting beat
    is withdrawn), and what arrives is discarded. A TLP that is offered stays. To be held until
    ``idle``, which comes for certain: time-outs count in a flush whatever
    ``completion_timeout_disable`` says. The rest after a time-out does not hold ``idle`` back and
    outlives the flush.

    ``extended_tag`` low restricts each channel to those of its tags in front that are below 32.

    Parameters
    ----------
    width : :class:`int`
        Of the streams in bits.
    clients : mapping of names to :class:`Client`
        They get tags in this order, from 0 on; see :attr:`Client.short`.
    timeout : :class:`int`
        Completion time-out in cycles, at least 16.

    Members
    -------
    NAME_request : :py:`In(stream of read_request_layout(context))`
    NAME_data : :py:`Out(stream of read_data_layout(width, context))`
        Of the client of this name.
    o : :py:`Out(TlpSignature(width))`
        Memory reads, one beat each.
    completion : :py:`In(TlpSignature(width))`
        Always accepted. A packet's length field agrees with its beats: whoever receives packets sees to that.
    settings : :py:`In(DmaSettings)`
        But for ``bus_master``, changes only while ``idle``.
    completion_timeout_disable : :py:`In(1)`
    flush : :py:`In(1)`
    idle : :py:`Out(1)`
        No request, read or data inside.
    tick : :py:`Out(1)`
        Strobe: four of them per time-out.
    ur_received, ca_received, poisoned, unexpected, timed_out : :py:`Out(1)`
        Strobes for the error bits of configuration space, one per completion or time-out.
        ``unexpected``: one that was late, twice, did not fit, or has a tag of nobody. A status other than
        successful and completer abort counts as UR.
    """

    def __init__(self, *, width: int, clients: Mapping[str, Client], timeout: int):
        if not clients:
            raise ValueError("there is at least one client")
        if timeout < 16:
            raise ValueError(f"timeout must be at least 16 cycles, not {timeout}")
        self.width = check_width(width)
        self.clients = dict(clients)
        self.timeout = timeout
        self.longest = max(check_max_bytes(client.max_bytes) for client in clients.values())
        self.channels: dict[str, ReadChannel] = {}
        members: dict[str, Any] = {}
        for name, (front, behind) in _allotted(self.clients).items():
            client = self.clients[name]
            self.channels[name] = ReadChannel(
                width=width,
                front=front,
                behind=behind,
                max_bytes=client.max_bytes,
                longest=self.longest,
                context=client.context,
                whole=client.whole,
            )
            members[f"{name}_request"] = In(stream.Signature(read_request_layout(client.context)))
            members[f"{name}_data"] = Out(stream.Signature(read_data_layout(width, client.context)))
        super().__init__(
            {
                **members,
                "o": Out(TlpSignature(width)),
                "completion": In(TlpSignature(width)),
                "settings": In(DmaSettings),
                "completion_timeout_disable": In(1),
                "flush": In(1),
                "idle": Out(1),
                "tick": Out(1),
                "ur_received": Out(1),
                "ca_received": Out(1),
                "poisoned": Out(1),
                "unexpected": Out(1),
                "timed_out": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the channels, the choice among their reads, its register, and the tracker."""
        m = Module()
        channels = list(self.channels.values())
        m.submodules.tracker = tracker = CompletionTracker(
            width=self.width,
            channels=[(channel.front, channel.behind) for channel in channels],
            max_bytes=self.longest,
        )
        m.submodules.arbiter = arbiter = PacketArbiter(shape=issue_layout, inputs=len(channels))
        connect(m, flipped(self.completion), tracker.completion)

        # Time
        ticks = -(-self.timeout // 4)
        prescaler, now, tick = Signal(range(ticks)), Signal(STAMP_BITS), self.tick
        m.d.comb += tick.eq(prescaler == ticks - 1)
        m.d.sync += [prescaler.eq(Mux(tick, 0, prescaler + 1)), now.eq(now + tick)]

        # The read on offer
        issue = arbiter.o.payload
        owner = Signal(len(channels))
        load = Signal()
        single = issue.address[2:12] == issue.final[2:12]
        first_be, last_be = byte_enables(issue.address[:2], issue.final[:2], single)
        dwords = issue.final[2:12] - issue.address[2:12] + 1
        size = ceil_log2(self.longest)
        m.d.comb += [
            self.o.payload.first.eq(1),
            self.o.payload.last.eq(1),
            arbiter.o.ready.eq((~self.o.valid | self.o.ready) & tracker.arm_ready),
            load.eq(arbiter.o.valid & arbiter.o.ready),
            tracker.requester_id.eq(self.settings.requester_id),
            tracker.arm.eq(load),
            tracker.arm_tag.eq(issue.tag),
            tracker.arm_expect.lap.eq(issue.lap),
            tracker.arm_expect.address.eq(issue.address),
            tracker.arm_expect.remaining.eq(issue.final[:size] - issue.address[:size] + 1),
            tracker.arm_expect.dwords.eq(dwords),
            tracker.offered.eq(self.o.valid),
            tracker.offered_tag.eq(self.o.payload.header.memory32.tag),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(load):
            m.d.sync += [
                self.o.valid.eq(1),
                owner.eq(Cat(channel.issue.valid & channel.issue.ready for channel in channels)),
                *memory_request(
                    self.o.payload.header,
                    write=False,
                    address=issue.address,
                    dwords=dwords,
                    first_be=first_be,
                    last_be=last_be,
                    requester_id=self.settings.requester_id,
                    tag=issue.tag,
                ),
            ]

        for number, (name, channel) in enumerate(self.channels.items()):
            m.submodules[f"{name}_channel"] = channel
            connect(m, flipped(getattr(self, f"{name}_request")), channel.request)
            connect(m, channel.data, flipped(getattr(self, f"{name}_data")))
            connect(m, channel.issue, arbiter.i[number])
            m.d.comb += [
                channel.settings.eq(self.settings),
                channel.completion_timeout_disable.eq(self.completion_timeout_disable),
                channel.flush.eq(self.flush),
                channel.sent.eq(self.o.valid & self.o.ready & owner[number]),
                channel.tick.eq(tick),
                channel.now.eq(now),
                tracker.forget[number].eq(channel.forget),
                tracker.forget_tag[number].eq(channel.forget_tag),
                channel.forgot.eq(tracker.forgot[number]),
                channel.ended.eq(tracker.ended[number]),
                channel.outcome.eq(tracker.outcome),
                channel.write.eq(tracker.write),
                channel.write_enable.eq(tracker.write_enable[number]),
            ]
        m.d.comb += [
            self.idle.eq(Cat(channel.idle for channel in channels).all()),
            self.ur_received.eq(tracker.ur_received),
            self.ca_received.eq(tracker.ca_received),
            self.poisoned.eq(tracker.poisoned),
            self.unexpected.eq(tracker.unexpected),
            self.timed_out.eq(Cat(channel.timed_out for channel in channels).any()),
        ]
        return m
