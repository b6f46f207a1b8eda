"""The PCI Express function: all between the raw packets and the virtio device."""

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from virtio_spec import layout
from virtio_spec.virtio_pci import Interface

from ..dma.layout import DmaSettings
from ..phy.raw import RawReceiver, RawTransmitter
from ..registers import RegisterBus
from ..tlp import RawSignature, TlpSignature, tlp_layout
from .arbiter import PacketArbiter
from .config_header import Identity
from .config_space import ConfigSpace, virtio_bars
from .intx import Intx
from .messages import MessageWriter
from .msix import Msix
from .non_posted import NonPosted
from .posted import PostedWriter
from .register_bus import Region, RegisterArbiter, RegisterDecoder, RegisterPipe
from .router import Router

__all__ = ["Function"]


class Function(wiring.Component):
    """PCI Express function 0 of a device: configuration space, BARs, interrupts, and a way for DMA.

    INTA is asserted while ``interrupt_status``, unless Interrupt Disable is set, the function is not in
    D0, or one of the two resets is under way. Its messages do not depend on Bus Master Enable.

    The configuration write that ends bus mastering, by its bit or by leaving D0, is answered behind the
    requests that were on offer then: no memory request follows its completion.  [PCIe base 5.0 §7.5.1.1.3]

    Parameters
    ----------
    width
        Of the streams in bits.
    identity
        Ids and class code.
    interface
        Which registers there are, and so which BARs and capabilities.
    vectors
        MSI-X vectors, 1 to 128; 0 for a function without MSI-X.
    max_payload
        Max_Payload_Size Supported in bytes, 128 to 512.
    writers
        Number of sources of memory writes; may be 0.
    link_speed, link_width
        What the link registers say: 1 to 5 (2.5 to 32 GT/s); lanes.

    Members
    -------
    rx : :py:`In(RawSignature(width))`, tx : :py:`Out(RawSignature(width))`
        The link.
    registers : :py:`Out(RegisterBus)`
        The virtio structures, BAR 4; with the modern interface only.
    legacy_registers : :py:`Out(RegisterBus)`
        The legacy registers, BAR 0; with the legacy interface only. No access comes while ``reset``,
        if that is high from the 4th cycle after the write that asked for it.
    reads : :py:`In(TlpSignature(width))`
        Memory reads; ``completion : Out(TlpSignature(width))`` are all completions received.
    writes : :py:`In(TlpSignature(width)).array(writers)`
        Memory writes; one that is accepted is ahead of everything accepted later, messages too.
    vector : :py:`In(stream.Signature(16))`
        MSI-X vectors to signal; taken and forgotten if there are none.
    msix_enable : :py:`Out(1)`
        MSI-X is enabled.
    interrupt_status : :py:`In(1)`
        For the PCI Status register and INTx; low while MSI-X is enabled.
    dma : :py:`Out(DmaSettings)`, completion_timeout_disable : :py:`Out(1)`
        For requests of our own.
    ur_received, ca_received, poisoned, unexpected, timed_out : :py:`In(1)`
        Strobes: what became of them.
    reads_pending : :py:`In(1)`
        Reads are outstanding.
    reset : :py:`In(1)`
        The virtio device is being reset: no interrupt of before may follow, and I/O requests wait.
    idle : :py:`Out(1)`
        No interrupt message is on its way, and INTA is what it has to be.
    function_reset : :py:`Out(1)`, function_reset_done : :py:`In(1)`
        FLR: high until done.
    """

    def __init__(
        self,
        *,
        width: int,
        identity: Identity,
        interface: Interface = Interface.MODERN,
        vectors: int,
        max_payload: int,
        writers: int,
        link_speed: int,
        link_width: int,
    ):
        if not isinstance(interface, Interface):
            raise TypeError(f"interface is an Interface, not {interface!r}")
        if not isinstance(writers, int) or writers < 0:
            raise ValueError(f"writers is a number from 0 on, not {writers!r}")
        self.width = width
        self.identity = identity
        self.interface = interface
        self.vectors = vectors
        self.max_payload = max_payload
        self.writers = writers
        self.link_speed = link_speed
        self.link_width = link_width
        members: dict[str, Any] = {
            "rx": In(RawSignature(width)),
            "tx": Out(RawSignature(width)),
            "reads": In(TlpSignature(width)),
            "completion": Out(TlpSignature(width)),
            "writes": In(TlpSignature(width)).array(writers),
            "vector": In(stream.Signature(16)),
            "msix_enable": Out(1),
            "interrupt_status": In(1),
            "dma": Out(DmaSettings),
            "completion_timeout_disable": Out(1),
            "ur_received": In(1),
            "ca_received": In(1),
            "poisoned": In(1),
            "unexpected": In(1),
            "timed_out": In(1),
            "reads_pending": In(1),
            "reset": In(1),
            "idle": Out(1),
            "function_reset": Out(1),
            "function_reset_done": In(1),
        }
        if interface.has_modern:
            members["registers"] = Out(RegisterBus)
        if interface.has_legacy:
            members["legacy_registers"] = Out(RegisterBus)
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.receiver = receiver = RawReceiver(width=self.width, max_payload=self.max_payload)
        m.submodules.transmitter = transmitter = RawTransmitter(width=self.width)
        m.submodules.router = router = Router(width=self.width)
        bars = virtio_bars(self.interface, self.vectors)
        m.submodules.posted = posted = PostedWriter(width=self.width, bars=bars)
        m.submodules.non_posted = non_posted = NonPosted(width=self.width, bars=bars)
        m.submodules.config = config = ConfigSpace(
            identity=self.identity,
            interface=self.interface,
            vectors=self.vectors,
            max_payload=self.max_payload,
            link_speed=self.link_speed,
            link_width=self.link_width,
        )
        connect(m, flipped(self.rx), receiver.i)
        connect(m, receiver.o, router.i)
        connect(m, router.posted, posted.i)
        connect(m, router.non_posted, non_posted.i)
        connect(m, router.completion, flipped(self.completion))
        connect(m, transmitter.o, flipped(self.tx))
        connect(m, non_posted.config, config.config)

        m.d.comb += [
            receiver.limit.eq(config.dma.max_payload),
            posted.decode.eq(config.bars),
            posted.d0.eq(config.d0),
            non_posted.decode.eq(config.bars),
            non_posted.d0.eq(config.d0),
            non_posted.function_reset.eq(config.function_reset),
            # A driver of the legacy interface does not wait for the end of a reset.
            non_posted.io_hold.eq(self.reset & ~config.function_reset),
            config.completer_id.eq(non_posted.completer_id),
            config.interrupt_status.eq(self.interrupt_status),
            config.transactions_pending.eq(self.reads_pending),
            config.errors.unsupported_request.eq(non_posted.unsupported),
            config.errors.unsupported_posted.eq(posted.unsupported | router.unsupported),
            config.errors.poisoned_received.eq(posted.poisoned | non_posted.poisoned),
            config.errors.poisoned_completion.eq(self.poisoned),
            config.errors.ur_received.eq(self.ur_received),
            config.errors.ca_received.eq(self.ca_received),
            config.errors.correctable.eq(self.unexpected),
            config.errors.non_fatal.eq(self.timed_out),
            config.errors.fatal.eq(receiver.malformed | router.malformed),
            self.dma.eq(config.dma),
            self.completion_timeout_disable.eq(config.completion_timeout_disable),
            self.msix_enable.eq(config.msix.enable),
            self.function_reset.eq(config.function_reset),
            config.function_reset_done.eq(self.function_reset_done),
        ]
        messages, idle = self._intx(m, config)
        packets, targets = [messages], []
        requests = [self.reads.valid, *(port.valid for port in self.writes)]
        if self.interface.has_legacy:
            region = Region(layout.LEGACY_BAR, 0, layout.LEGACY_BAR_SIZE)
            targets.append((region, flipped(self.legacy_registers)))
        if self.interface.has_modern:
            region = Region(layout.MODERN_BAR, 0, layout.MODERN_BAR_SIZE)
            targets.append((region, flipped(self.registers)))
        if self.vectors:
            messages, msix_sends, msix_idle, msix_bus = self._msix(m, config)
            packets.append(messages)
            requests.append(msix_sends)
            idle &= msix_idle
            targets.append((Region(layout.MSIX_BAR, 0, layout.MSIX_BAR_SIZE), msix_bus))
        else:
            m.d.comb += self.vector.ready.eq(1)
        m.d.comb += [
            self.idle.eq(idle),
            non_posted.settled.eq(config.dma.bus_master | ~Cat(requests).any()),
        ]

        masters = [posted.bus, non_posted.bus]
        if self.interface.has_modern:
            masters.append(config.bus)
        writing = self._registers(m, masters, targets)
        m.d.comb += non_posted.writes_busy.eq(posted.busy | writing)
        self._transmit(m, transmitter, non_posted.o, packets)
        return m

    def _registers(self, m: Module, masters: list[Any], targets: list[tuple[Region, Any]]) -> Any:
        """The way of the masters to the targets; returns whether an access is on it."""
        m.submodules.register_arbiter = arbiter = RegisterArbiter(masters=len(masters))
        m.submodules.register_decoder = decoder = RegisterDecoder(regions=[region for region, _ in targets])
        for port, master in zip(arbiter.i, masters, strict=True):
            connect(m, master, port)
        m.submodules.register_pipe = pipe = RegisterPipe()
        connect(m, arbiter.o, pipe.i)
        connect(m, pipe.o, decoder.i)
        for port, (_, target) in zip(decoder.o, targets, strict=True):
            connect(m, port, target)
        return pipe.o.request.valid

    def _intx(self, m: Module, config: Any) -> tuple[Any, Any]:
        """INTx; returns its messages, and whether it is idle."""
        m.submodules.intx = intx = Intx(width=self.width)
        quiet = config.interrupt_disable | ~config.d0 | config.function_reset | self.reset
        m.d.comb += [
            intx.level.eq(self.interrupt_status & ~quiet),
            intx.requester_id.eq(config.dma.requester_id),
        ]
        return intx.o, intx.idle

    def _msix(self, m: Module, config: Any) -> tuple[Any, Any, Any, Any]:
        """MSI-X; returns its messages, whether there is one, whether it is idle, and its registers."""
        m.submodules.msix = msix = Msix(vectors=self.vectors)
        m.submodules.message_writer = writer = MessageWriter(width=self.width)
        connect(m, flipped(self.vector), msix.request)
        connect(m, msix.write, writer.i)
        m.d.comb += [
            msix.settings.eq(config.msix),
            msix.bus_master.eq(config.dma.bus_master),
            msix.reset.eq(config.function_reset),
            msix.forget.eq(self.reset),
            writer.requester_id.eq(config.dma.requester_id),
        ]
        return writer.o, msix.write.valid, msix.idle, msix.bus

    def _transmit(self, m: Module, transmitter: Any, completions: Any, messages: list[Any]) -> None:
        sources = [*(flipped(port) for port in self.writes), *messages]
        m.submodules.write_arbiter = writes = PacketArbiter(shape=tlp_layout(self.width), inputs=len(sources))
        m.submodules.transmit_arbiter = transmit = PacketArbiter(shape=tlp_layout(self.width), inputs=3)
        for port, source in zip(writes.i, sources, strict=True):
            connect(m, source, port)
        connect(m, completions, transmit.i[0])
        connect(m, flipped(self.reads), transmit.i[1])
        connect(m, writes.o, transmit.i[2])
        connect(m, transmit.o, transmitter.i)
