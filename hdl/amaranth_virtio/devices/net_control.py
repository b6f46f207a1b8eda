"""Commands of the driver."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for
from virtio_spec.net import CtrlClass, CtrlMac, CtrlMq, CtrlRx, NetFeature

from ..chain import readable_layout
from .net_addresses import ADDRESSES
from .net_layout import CompletedChain

__all__ = ["NetControl"]


class Command(enum.Enum, shape=3):
    """What a command sets."""

    PROMISC = 0
    ALLMULTI = 1
    ADDRESS = 2
    TABLE = 3
    PAIRS = 4


class NetControl(wiring.Component):
    """Carry out commands.  [virtio 1.4 §5.1.6.5]

    A command takes effect, as a whole, if it is known, its feature was accepted, and its data is just as long
    as it has to be and valid; else its answer is an error and nothing changes. Tables of 65536 addresses and
    more are an error. 2 bytes per cycle, and 2 cycles more. Reset, with which all is as at first, is that of
    the clock domain.

    Parameters
    ----------
    width : :class:`int`
        Of a beat in bits.
    pairs : :class:`int`
    mac : :class:`bytes`
        The address at first.

    Members
    -------
    i : :py:`In(stream of readable_layout(width))`
        Commands, one a chain.
    features : :py:`In(64)`
        Accepted ones.
    o : :py:`Out(stream of CompletedChain)`
        Their answers.
    promiscuous, all_multicast : :py:`Out(1)`, mac : :py:`Out(48)`, active : :py:`Out`
        What was set; ``active`` is the number of pairs.
    write, group, index, entry, swap, individuals, groups
        To an :class:`AddressTable`.
    """

    i: Any
    features: Any
    o: Any
    promiscuous: Any
    all_multicast: Any
    mac: Any
    active: Any
    write: Any
    group: Any
    index: Any
    entry: Any
    swap: Any
    individuals: Any
    groups: Any

    def __init__(self, *, width: int, pairs: int, mac: bytes):
        self.width = width
        self.pairs = pairs
        self.permanent = mac
        self._restart = Signal()  # the next command may begin
        super().__init__(
            {
                "i": In(stream.Signature(readable_layout(width))),
                "features": In(64),
                "o": Out(stream.Signature(CompletedChain)),
                "promiscuous": Out(1),
                "all_multicast": Out(1),
                "mac": Out(48, init=int.from_bytes(mac, "little")),
                "active": Out(bits_for(pairs), init=1),
                "write": Out(1),
                "group": Out(1),
                "index": Out(4),
                "entry": Out(48),
                "swap": Out(1),
                "individuals": Out(5),
                "groups": Out(5),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the walk over the words of a command, the FSM that understands them, and what comes of it."""
        m = Module()
        beat, answer = self.i.payload, self.o.payload
        number = Signal(range(self.width // 16))  # of the word in the beat
        word = Signal(16)
        present, single, end = (
            Signal(),
            Signal(),
            Signal(),
        )  # a word is there, only half of it, the beat's last
        walking, closing = Signal(), Signal()  # ``closing``: all of the command was looked at
        m.d.comb += [
            walking.eq(self.i.valid & ~closing & ~self.o.valid),
            word.eq(beat.data.word_select(number, 16)),
            single.eq(beat.count == (number << 1) + 1),
            end.eq(beat.count <= (number << 1) + 2),
            present.eq(walking & (beat.count != 0)),
            self.i.ready.eq(~closing & ~self.o.valid & end),
        ]
        failed = Signal()
        with m.If(walking):
            m.d.sync += [
                number.eq(Mux(end, 0, number + 1)),
                closing.eq(end & beat.last),
                failed.eq(beat.error),
                answer.token.eq(beat.token),
            ]

        kept, latest = Signal(48), Signal(48)  # the last three words, without and with this one
        m.d.comb += latest.eq(Cat(kept[16:], word))
        with m.If(present):
            m.d.sync += kept.eq(latest)
        command = Signal(Command)
        done = self._understand(m, command, present, word, single, latest)

        with m.If(closing):
            m.d.sync += [closing.eq(0), self.o.valid.eq(1), answer.error.eq(failed | ~done)]
            with m.If(done & ~failed):
                m.d.comb += self.swap.eq(command == Command.TABLE)
                with m.Switch(command):
                    with m.Case(Command.PROMISC):
                        m.d.sync += self.promiscuous.eq(kept[32])
                    with m.Case(Command.ALLMULTI):
                        m.d.sync += self.all_multicast.eq(kept[32])
                    with m.Case(Command.ADDRESS):
                        m.d.sync += self.mac.eq(kept)
                    with m.Case(Command.PAIRS):
                        m.d.sync += self.active.eq(kept[32:])
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(closing):
            m.d.comb += self._restart.eq(1)
        return m

    def _understand(self, m: Module, command: Any, present: Any, word: Any, single: Any, latest: Any) -> Any:
        """Walk through the format of a command; high if it may end here."""
        count = Signal(range(3))  # words of an address before this one
        left = Signal(16)  # addresses that are to come
        few = Signal(range(ADDRESSES + 2))  # addresses of the table
        none = Signal()
        m.d.comb += [self.entry.eq(latest), none.eq(left == 0)]

        @contextmanager
        def state(name: str) -> Iterator[None]:
            with m.State(name):
                yield
                with m.If(self._restart):  # nothing is present then
                    m.next = "HEADER"

        with m.FSM() as fsm:
            with state("HEADER"):
                m.d.sync += [count.eq(0), self.group.eq(0)]
                with m.If(present):
                    m.next = "BAD"
                    with m.If(~single):
                        self._begin(m, command, word)
            with state("SWITCH"):
                with m.If(present):
                    m.next = "BAD"
                    with m.If(single & (word[1:8] == 0)):
                        m.next = "DONE"
            with state("PAIRS"):
                with m.If(present):
                    m.next = "BAD"
                    with m.If(~single & (word != 0) & (word <= self.pairs)):
                        m.next = "DONE"
            with state("ADDRESS"):
                with m.If(present):
                    m.d.sync += count.eq(count + 1)
                    with m.If(single):
                        m.next = "BAD"
                    with m.Elif(count == 2):
                        m.next = "DONE"
            with state("COUNT"):
                m.d.sync += self.index.eq(0)
                with m.If(present):
                    m.d.sync += [left.eq(word), few.eq(Mux(word > ADDRESSES, ADDRESSES + 1, word))]
                    m.next = "LARGE"
            with state("LARGE"):
                m.d.sync += count.eq(0)
                with m.If(present):
                    m.next = "BAD"
                    with m.If((word == 0) & ~single):
                        with m.If(self.group):
                            m.d.sync += self.groups.eq(few)
                        with m.Else():
                            m.d.sync += self.individuals.eq(few)
                        self._next_table(m, none)
            with state("TABLE"):
                with m.If(present):
                    m.d.sync += count.eq(Mux(count == 2, 0, count + 1))
                    with m.If(single):
                        m.next = "BAD"
                    with m.Elif(count == 2):
                        m.d.comb += self.write.eq(few <= ADDRESSES)
                        m.d.sync += [left.eq(left - 1), self.index.eq(self.index + 1)]
                        self._next_table(m, left == 1)
            with state("DONE"):
                with m.If(present):
                    m.next = "BAD"
            with state("BAD"):
                pass
            done = fsm.ongoing("DONE")
        return done

    def _next_table(self, m: Module, over: Any) -> None:
        """Go on with the table, or if it is ``over`` with what comes behind."""
        m.next = "TABLE"
        with m.If(over):
            m.d.sync += self.group.eq(1)
            m.next = "COUNT"
            with m.If(self.group):
                m.next = "DONE"

    def _begin(self, m: Module, command: Any, word: Any) -> None:
        """Choose by the header, if the feature was accepted."""
        for kind, number, feature, name, state in (
            (CtrlClass.RX, CtrlRx.PROMISC, NetFeature.CTRL_RX, Command.PROMISC, "SWITCH"),
            (CtrlClass.RX, CtrlRx.ALLMULTI, NetFeature.CTRL_RX, Command.ALLMULTI, "SWITCH"),
            (CtrlClass.MAC, CtrlMac.ADDR_SET, NetFeature.CTRL_MAC_ADDR, Command.ADDRESS, "ADDRESS"),
            (CtrlClass.MAC, CtrlMac.TABLE_SET, NetFeature.CTRL_RX, Command.TABLE, "COUNT"),
            (CtrlClass.MQ, CtrlMq.VQ_PAIRS_SET, NetFeature.MQ, Command.PAIRS, "PAIRS"),
        ):
            with m.If((word == kind | number << 8) & self.features[feature]):
                m.d.sync += command.eq(name)
                m.next = state
