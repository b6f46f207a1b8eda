"""The configuration space of a virtio function.  [PCIe base 5.0 §7.5; virtio 1.4 §4.1]"""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2
from virtio_spec import layout
from virtio_spec.virtio_pci import Interface

from ..dma.layout import DmaSettings
from ..registers import ConfigBus, RegisterBus
from .bars import Bar, BarSettings
from .capabilities import Capability, link, msix, power_management, virtio_capabilities, virtio_window
from .config_header import Identity, header
from .config_registers import ConfigRegisters
from .config_window import ConfigWindow
from .express_capability import express
from .msix import MsixSettings

__all__ = ["ConfigSpace", "ErrorStrobes", "virtio_bars"]

_MAX_READ_REQUEST = 5  # 4096 bytes; 6 and 7 are reserved


def virtio_bars(interface: Interface, vectors: int) -> tuple[Bar, ...]:
    """The BARs of ``virtio_spec.layout`` that a function with these interfaces and MSI-X vectors has."""
    bars: list[Bar] = []
    if interface.has_legacy:
        bars.append(Bar(index=layout.LEGACY_BAR, size=layout.LEGACY_BAR_SIZE, io=True))
    if vectors:
        bars.append(Bar(index=layout.MSIX_BAR, size=layout.MSIX_BAR_SIZE))
    if interface.has_modern:
        bars.append(Bar(index=layout.MODERN_BAR, size=layout.MODERN_BAR_SIZE, wide=True, prefetchable=True))
    return tuple(bars)


class ErrorStrobes(data.Struct):
    """What went wrong, each high for one cycle per event; without Advanced Error Reporting.

    Each sets bits of the Status register [PCIe base 5.0 §7.5.1.1.4] and of Device Status [§7.5.3.5],
    by the severities of §6.2.3.2 and its advisory non-fatal cases, whether or not reporting is enabled.
    """

    unsupported_request: 1  # non-posted, answered UR: UR Detected, Correctable (advisory)
    unsupported_posted: 1  # posted, dropped: UR Detected, Non-Fatal
    completer_abort_sent: 1  # Signaled Target Abort, Correctable (advisory)
    poisoned_received: 1  # poisoned request: Detected Parity Error, Non-Fatal
    # Detected Parity Error, Non-Fatal; Master Data Parity Error if Parity Error Response is set
    poisoned_completion: 1
    ur_received: 1  # completion with UR: Received Master Abort
    ca_received: 1  # completion with CA: Received Target Abort
    correctable: 1  # any other, such as an unexpected completion (advisory): Correctable
    non_fatal: 1  # any other, such as a completion time-out: Non-Fatal
    fatal: 1  # malformed TLP: Fatal


class ConfigSpace(wiring.Component):
    """Type 0 header with the BARs, power management, PCI Express, MSI-X and virtio capabilities.

    Answers every request; a register that does not exist (all of 0x100 and above, too: there are no
    extended capabilities) reads 0 and ignores writes. The answer comes 4 cycles after the
    request, with an access through the PCI_CFG window (:class:`~.config_window.ConfigWindow`) later.
    A function without the modern interface has neither virtio capabilities nor a window, answers after
    2 cycles, and is a legacy endpoint, since it depends on its I/O BAR.

    A function level reset begins with the write of Initiate FLR, which is answered as any other.
    ``function_reset`` is then high until ``function_reset_done``; in this time configuration accesses
    go on (without BAR accesses through the window), and the BARs decode nothing. At its end all
    registers have their initial values except those that [PCIe base 5.0 §6.6.2] keeps, which are
    Max_Payload_Size, Link Control, and the sticky Link Control 2.

    The state after D3hot is kept (No_Soft_Reset). In D3hot the BARs decode nothing and the function
    is no bus master.

    Parameters
    ----------
    identity
        Vendor, device and subsystem ids, revision, class code.
    interface
        Which register interfaces there are, and with them which BARs: :func:`virtio_bars`.
    vectors
        MSI-X table entries, 1 to 128; 0 for a function without MSI-X.
    max_payload
        Max_Payload_Size Supported in bytes.
    link_speed, link_width
        What the link capabilities and status say: 1 to 5 (2.5 to 32 GT/s); lanes.
    interrupt_pin
        0 for none, 1 to 4 for INTA to INTD.

    Members
    -------
    config : :py:`In(ConfigBus)`
        Configuration requests addressed to this function.
    bus : :py:`Out(RegisterBus)`
        BAR accesses through the PCI_CFG window; absent without the modern interface.
    bars : :py:`Out(BarSettings(bar_list))`
        Where the BARs are; the Python attribute ``bar_list`` has the declaration.
    dma : :py:`Out(DmaSettings)`
        Max_Payload_Size clamped to what is supported, Max_Read_Request_Size to 4096.
    msix : :py:`Out(MsixSettings)`
        Message Control; all zero without MSI-X.
    interrupt_disable : :py:`Out(1)`
        Interrupt Disable of the command register: no INTx.
    d0 : :py:`Out(1)`
        Power state is D0.
    completion_timeout_disable : :py:`Out(1)`
        Of Device Control 2.
    completer_id : :py:`In(16)`
        Captured bus, device and function number.
    interrupt_status, transactions_pending : :py:`In(1)`
        The bits of Status and Device Status, live.
    errors : :py:`In(ErrorStrobes)`
        Set error bits.
    function_reset : :py:`Out(1)`
        A function level reset is going on.
    function_reset_done : :py:`In(1)`
        Ends it; looked at in every cycle in which ``function_reset`` is high.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        interface: Interface = Interface.MODERN,
        vectors: int,
        max_payload: int = 256,
        link_speed: int = 1,
        link_width: int = 1,
        interrupt_pin: int = 1,
    ):
        if not isinstance(interface, Interface):
            raise TypeError(f"interface is an Interface, not {interface!r}")
        if vectors not in range(129):
            raise ValueError(f"vectors is a number from 0 to 128, not {vectors!r}")
        if max_payload not in (128, 256, 512, 1024, 2048, 4096):
            raise ValueError(f"max_payload is a power of two from 128 to 4096, not {max_payload!r}")
        if link_speed not in range(1, 6):
            raise ValueError(f"link_speed is a number from 1 to 5, not {link_speed!r}")
        if link_width not in (1, 2, 4, 8, 12, 16, 32):
            raise ValueError(f"link_width is 1, 2, 4, 8, 12, 16 or 32, not {link_width!r}")
        if interrupt_pin not in range(5):
            raise ValueError(f"interrupt_pin is a number from 0 to 4, not {interrupt_pin!r}")
        self.identity = identity
        self.interface = interface
        self.vectors = vectors
        self.max_payload = max_payload
        self.link_speed = link_speed
        self.link_width = link_width
        self.interrupt_pin = interrupt_pin
        self.bar_list = virtio_bars(interface, vectors)
        members: dict[str, Any] = {
            "config": In(ConfigBus),
            "bars": Out(BarSettings(self.bar_list)),
            "dma": Out(DmaSettings),
            "msix": Out(MsixSettings),
            "interrupt_disable": Out(1),
            "d0": Out(1, init=1),
            "completion_timeout_disable": Out(1),
            "completer_id": In(16),
            "interrupt_status": In(1),
            "transactions_pending": In(1),
            "errors": In(ErrorStrobes),
            "function_reset": Out(1),
            "function_reset_done": In(1),
        }
        if interface.has_modern:
            members["bus"] = Out(RegisterBus)
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        pointer, capabilities = link(self._capabilities())
        head = header(
            identity=self.identity,
            bars=self.bar_list,
            interrupt_pin=self.interrupt_pin,
            capabilities=pointer,
        )
        m.submodules.registers = registers = ConfigRegisters(fields=[*head, *capabilities])
        if self.interface.has_modern:
            self._window(m, registers)
        else:
            connect(m, flipped(self.config), registers.bus)

        output = registers.output
        m.d.comb += [
            self.d0.eq(output.power_state == 0),
            self.interrupt_disable.eq(output.interrupt_disable),
            self.completion_timeout_disable.eq(output.completion_timeout_disable),
        ]
        if self.vectors:
            m.d.comb += [self.msix.enable.eq(output.msix_enable), self.msix.mask.eq(output.msix_mask)]
        self._bar_settings(m, output)
        self._dma_settings(m, output)
        self._status(m, registers)
        self._function_reset(m, registers)
        return m

    def _capabilities(self) -> list[Capability]:
        found = [
            power_management(),
            express(
                max_payload=exact_log2(self.max_payload // 128),
                link_speed=self.link_speed,
                link_width=self.link_width,
                legacy=not self.interface.has_modern,
            ),
        ]
        if self.vectors:
            found.append(msix(vectors=self.vectors))
        if self.interface.has_modern:
            found += [*virtio_capabilities(), virtio_window()]
        return found

    def _window(self, m: Module, registers: ConfigRegisters) -> None:
        (window_data,) = (field for field in registers.fields if field.output == "window_data")
        m.submodules.window = window = ConfigWindow(register=window_data.register, bars=self.bar_list)
        connect(m, flipped(self.config), window.upstream)
        connect(m, window.downstream, registers.bus)
        connect(m, window.bus, flipped(self.bus))
        output: Any = registers.output
        m.d.comb += [
            window.enable.eq(~self.function_reset),
            window.settings.bar.eq(output.window_bar),
            window.settings.offset.eq(output.window_offset),
            window.settings.length.eq(output.window_length),
            window.settings.data.eq(output.window_data),
        ]

    def _bar_settings(self, m: Module, output: Any) -> None:
        decodes = self.d0 & ~self.function_reset
        m.d.comb += self.bars.memory_enable.eq(output.memory_space & decodes)
        if any(bar.io for bar in self.bar_list):
            m.d.comb += self.bars.io_enable.eq(output.io_space & decodes)
        for bar, base in zip(self.bar_list, self.bars.base, strict=True):
            m.d.comb += base[exact_log2(bar.size) : 32].eq(output[f"bar{bar.index}"])
            if bar.wide:
                m.d.comb += base[32:].eq(output[f"bar{bar.index}_high"])

    def _dma_settings(self, m: Module, output: Any) -> None:
        supported = exact_log2(self.max_payload // 128)
        payload, request = output.max_payload, output.max_read_request
        m.d.comb += [
            self.dma.requester_id.eq(self.completer_id),
            self.dma.bus_master.eq(output.bus_master & self.d0),
            self.dma.max_payload.eq(Mux(payload > supported, supported, payload)),
            self.dma.max_read_request.eq(Mux(request > _MAX_READ_REQUEST, _MAX_READ_REQUEST, request)),
            self.dma.extended_tag.eq(output.extended_tag),
        ]

    def _status(self, m: Module, registers: Any) -> None:
        live, errors = registers.live, self.errors
        poisoned = errors.poisoned_received | errors.poisoned_completion
        unsupported = errors.unsupported_request | errors.unsupported_posted
        advisory = Cat(errors.unsupported_request, errors.completer_abort_sent, errors.correctable)
        parity_response = registers.output.parity_error_response
        m.d.comb += [
            live.interrupt_status.eq(self.interrupt_status),
            live.transactions_pending.eq(self.transactions_pending),
        ]
        # The strobes end long paths, and nobody can tell one cycle from the next.
        m.d.sync += [
            live.master_data_parity_error.eq(errors.poisoned_completion & parity_response),
            live.signaled_target_abort.eq(errors.completer_abort_sent),
            live.received_target_abort.eq(errors.ca_received),
            live.received_master_abort.eq(errors.ur_received),
            live.detected_parity_error.eq(poisoned),
            live.correctable_error.eq(advisory.any()),
            live.non_fatal_error.eq(errors.non_fatal | errors.unsupported_posted | poisoned),
            live.fatal_error.eq(errors.fatal),
            live.unsupported_request_detected.eq(unsupported),
        ]

    def _function_reset(self, m: Module, registers: Any) -> None:
        active = Signal()
        m.d.comb += [self.function_reset.eq(active), registers.reset.eq(active & self.function_reset_done)]
        with m.If(registers.reset):
            m.d.sync += active.eq(0)
        with m.Elif(registers.output.initiate_flr):
            m.d.sync += active.eq(1)
