"""The PCI Express function: all between the raw packets and the virtio device."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from virtio_spec import layout

from ..dma.layout import DmaSettings
from ..dma.word import WordWriter
from ..phy.raw import RawReceiver, RawTransmitter
from ..registers import RegisterBus
from ..tlp import RawSignature, TlpSignature
from .arbiter import PacketArbiter
from .config_header import Identity
from .config_space import VIRTIO_BARS, ConfigSpace
from .msix import Msix
from .non_posted import NonPosted
from .posted import PostedWriter
from .register_bus import RegisterArbiter, RegisterDecoder
from .router import Router

__all__ = ["Function"]

_REGIONS = (
    (layout.MSIX_BAR, 0, layout.MSIX_BAR_SIZE),
    (layout.MODERN_BAR, 0, layout.MODERN_BAR_SIZE),
)


class Function(wiring.Component):
    """PCI Express function 0 of a device: configuration space, BARs, MSI-X, and a way for DMA.

    Parameters
    ----------
    width
        Of the streams in bits.
    identity
        Ids and class code.
    vectors
        MSI-X vectors, 1 to 128.
    max_payload
        Max_Payload_Size Supported in bytes, 128 to 512.
    writers
        Number of sources of memory writes.
    link_speed, link_width
        What the link registers say: 1 to 5 (2.5 to 32 GT/s); lanes.

    Members
    -------
    rx : :py:`In(RawSignature(width))`, tx : :py:`Out(RawSignature(width))`
        The link.
    registers : :py:`Out(RegisterBus)`
        The virtio structures, BAR 4.
    reads : :py:`In(TlpSignature(width))`
        Memory reads; ``completion : Out(TlpSignature(width))`` are all completions received.
    writes : :py:`In(TlpSignature(width)).array(writers)`
        Memory writes; one that is accepted is ahead of everything accepted later, MSI-X messages too.
    vector : :py:`In(stream.Signature(16))`
        MSI-X vectors to signal.
    msix_enable : :py:`Out(1)`
        MSI-X is enabled.
    interrupt_status : :py:`In(1)`
        For the PCI Status register.
    dma : :py:`Out(DmaSettings)`, completion_timeout_disable : :py:`Out(1)`
        For requests of our own.
    ur_received, ca_received, poisoned, unexpected, timed_out : :py:`In(1)`
        Strobes: what became of them.
    reads_pending : :py:`In(1)`
        Reads are outstanding.
    reset : :py:`In(1)`
        The virtio device is being reset: no interrupt of before may follow.
    idle : :py:`Out(1)`
        No MSI-X message is on its way.
    function_reset : :py:`Out(1)`, function_reset_done : :py:`In(1)`
        FLR: high until done.
    """

    def __init__(
        self,
        *,
        width: int,
        identity: Identity,
        vectors: int,
        max_payload: int,
        writers: int,
        link_speed: int,
        link_width: int,
    ):
        self.width = width
        self.identity = identity
        self.vectors = vectors
        self.max_payload = max_payload
        self.writers = writers
        self.link_speed = link_speed
        self.link_width = link_width
        super().__init__(
            {
                "rx": In(RawSignature(width)),
                "tx": Out(RawSignature(width)),
                "registers": Out(RegisterBus),
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
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.receiver = receiver = RawReceiver(width=self.width, max_payload=self.max_payload)
        m.submodules.transmitter = transmitter = RawTransmitter(width=self.width)
        m.submodules.router = router = Router(width=self.width)
        m.submodules.posted = posted = PostedWriter(width=self.width, bars=VIRTIO_BARS)
        m.submodules.non_posted = non_posted = NonPosted(width=self.width, bars=VIRTIO_BARS)
        m.submodules.config = config = ConfigSpace(
            identity=self.identity,
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
            non_posted.writes_busy.eq(posted.busy),
            non_posted.function_reset.eq(config.function_reset),
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
        msix_target = self._registers(m, posted.bus, non_posted.bus, config.bus)
        messages = self._messages(m, msix_target, config)
        self._transmit(m, transmitter, non_posted.o, messages)
        return m

    def _registers(self, m: Module, *masters: Any) -> Any:
        m.submodules.register_arbiter = arbiter = RegisterArbiter(masters=len(masters))
        m.submodules.register_decoder = decoder = RegisterDecoder(regions=_REGIONS)
        for port, master in zip(arbiter.i, masters, strict=True):
            connect(m, master, port)
        connect(m, arbiter.o, decoder.i)
        msix_target, virtio_target = decoder.o
        connect(m, virtio_target, flipped(self.registers))
        return msix_target

    def _messages(self, m: Module, target: Any, config: Any) -> Any:
        m.submodules.msix = msix = Msix(vectors=self.vectors)
        m.submodules.message_writer = writer = WordWriter(width=self.width)
        connect(m, target, msix.bus)
        connect(m, flipped(self.vector), msix.request)
        connect(m, msix.write, writer.request)
        m.d.comb += [
            msix.settings.eq(config.msix),
            msix.bus_master.eq(config.dma.bus_master),
            msix.reset.eq(config.function_reset),
            msix.forget.eq(self.reset),
            writer.settings.eq(config.dma),
            writer.flush.eq(config.function_reset),
            self.idle.eq(msix.idle & ~writer.o.valid),
        ]
        return writer.o

    def _transmit(self, m: Module, transmitter: Any, completions: Any, messages: Any) -> None:
        m.submodules.write_arbiter = writes = PacketArbiter(width=self.width, inputs=self.writers + 1)
        m.submodules.transmit_arbiter = transmit = PacketArbiter(width=self.width, inputs=3)
        for port, source in zip(writes.i, [*(flipped(w) for w in self.writes), messages], strict=True):
            connect(m, source, port)
        connect(m, completions, transmit.i[0])
        connect(m, flipped(self.reads), transmit.i[1])
        connect(m, writes.o, transmit.i[2])
        connect(m, transmit.o, transmitter.i)
