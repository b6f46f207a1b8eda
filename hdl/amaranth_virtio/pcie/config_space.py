"""The configuration space of a modern virtio function.  [PCIe base 5.0 §7.5; virtio 1.4 §4.1]"""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2
from virtio_spec import layout

from ..dma.layout import DmaSettings
from ..registers import ConfigBus, RegisterBus
from .bars import Bar, BarSettings, check_bars
from .capabilities import link, msix, power_management, virtio_capabilities, virtio_window
from .config_header import Identity, header
from .config_registers import ConfigRegisters
from .config_window import ConfigWindow
from .express_capability import express
from .msix import MsixSettings

__all__ = ["VIRTIO_BARS", "ConfigSpace", "ErrorStrobes"]

#: The BARs of ``virtio_spec.layout``.
VIRTIO_BARS = (
    Bar(index=layout.MSIX_BAR, size=layout.MSIX_BAR_SIZE),
    Bar(index=layout.MODERN_BAR, size=layout.MODERN_BAR_SIZE, wide=True, prefetchable=True),
)

_MAX_READ_REQUEST = 5  # 4096 bytes; 6 and 7 are reserved


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
    extended capabilities) reads 0 and ignores writes. The answer comes 5 cycles after the
    request, with an access through the PCI_CFG window (:class:`~.config_window.ConfigWindow`) later.

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
    vectors
        MSI-X table entries, 1 to 128.
    bars
        Must hold the BARs of ``virtio_spec.layout``.
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
        BAR accesses through the PCI_CFG window.
    bars : :py:`Out(BarSettings(bars))`
        Where the BARs are; the member's Python attribute ``bar_list`` has the declaration.
    dma : :py:`Out(DmaSettings)`
        Max_Payload_Size clamped to what is supported, Max_Read_Request_Size to 4096.
    msix : :py:`Out(MsixSettings)`
        Message Control.
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
        vectors: int,
        bars: Sequence[Bar] = VIRTIO_BARS,
        max_payload: int = 256,
        link_speed: int = 1,
        link_width: int = 1,
        interrupt_pin: int = 0,
    ):
        if vectors not in range(1, 129):
            raise ValueError(f"vectors is a number from 1 to 128, not {vectors!r}")
        if max_payload not in (128, 256, 512, 1024, 2048, 4096):
            raise ValueError(f"max_payload is a power of two from 128 to 4096, not {max_payload!r}")
        if link_speed not in range(1, 6):
            raise ValueError(f"link_speed is a number from 1 to 5, not {link_speed!r}")
        if link_width not in (1, 2, 4, 8, 12, 16, 32):
            raise ValueError(f"link_width is 1, 2, 4, 8, 12, 16 or 32, not {link_width!r}")
        if interrupt_pin not in range(5):
            raise ValueError(f"interrupt_pin is a number from 0 to 4, not {interrupt_pin!r}")
        self.bar_list = check_bars(bars)
        if missing := {layout.MSIX_BAR, layout.MODERN_BAR} - {bar.index for bar in self.bar_list}:
            raise ValueError(f"bars lacks BAR {min(missing)}, which the capabilities point at")
        self.identity = identity
        self.vectors = vectors
        self.max_payload = max_payload
        self.link_speed = link_speed
        self.link_width = link_width
        self.interrupt_pin = interrupt_pin
        super().__init__(
            {
                "config": In(ConfigBus),
                "bus": Out(RegisterBus),
                "bars": Out(BarSettings(self.bar_list)),
                "dma": Out(DmaSettings),
                "msix": Out(MsixSettings),
                "d0": Out(1, init=1),
                "completion_timeout_disable": Out(1),
                "completer_id": In(16),
                "interrupt_status": In(1),
                "transactions_pending": In(1),
                "errors": In(ErrorStrobes),
                "function_reset": Out(1),
                "function_reset_done": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        pointer, capabilities = link(
            [
                power_management(),
                express(
                    max_payload=exact_log2(self.max_payload // 128),
                    link_speed=self.link_speed,
                    link_width=self.link_width,
                ),
                msix(vectors=self.vectors),
                *virtio_capabilities(),
                virtio_window(),
            ]
        )
        head = header(
            identity=self.identity,
            bars=self.bar_list,
            interrupt_pin=self.interrupt_pin,
            capabilities=pointer,
        )
        (window_data,) = (field for field in capabilities if field.output == "window_data")
        m.submodules.registers = registers = ConfigRegisters(fields=[*head, *capabilities])
        m.submodules.window = window = ConfigWindow(register=window_data.register, bars=self.bar_list)
        connect(m, flipped(self.config), window.upstream)
        connect(m, window.downstream, registers.bus)
        connect(m, window.bus, flipped(self.bus))

        output = registers.output
        m.d.comb += [
            window.enable.eq(~self.function_reset),
            window.settings.bar.eq(output.window_bar),
            window.settings.offset.eq(output.window_offset),
            window.settings.length.eq(output.window_length),
            window.settings.data.eq(output.window_data),
            self.d0.eq(output.power_state == 0),
            self.msix.enable.eq(output.msix_enable),
            self.msix.mask.eq(output.msix_mask),
            self.completion_timeout_disable.eq(output.completion_timeout_disable),
        ]
        self._bar_settings(m, output)
        self._dma_settings(m, output)
        self._status(m, registers)
        self._function_reset(m, registers)
        return m

    def _bar_settings(self, m: Module, output: Any) -> None:
        m.d.comb += self.bars.memory_enable.eq(output.memory_space & self.d0 & ~self.function_reset)
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
            live.master_data_parity_error.eq(errors.poisoned_completion & parity_response),
            live.signaled_target_abort.eq(errors.completer_abort_sent),
            live.received_target_abort.eq(errors.ca_received),
            live.received_master_abort.eq(errors.ur_received),
            live.detected_parity_error.eq(poisoned),
            live.correctable_error.eq(advisory.any()),
            live.non_fatal_error.eq(errors.non_fatal | errors.unsupported_posted | poisoned),
            live.fatal_error.eq(errors.fatal),
            live.unsupported_request_detected.eq(unsupported),
            live.transactions_pending.eq(self.transactions_pending),
        ]

    def _function_reset(self, m: Module, registers: Any) -> None:
        active = Signal()
        m.d.comb += [self.function_reset.eq(active), registers.reset.eq(active & self.function_reset_done)]
        with m.If(registers.reset):
            m.d.sync += active.eq(0)
        with m.Elif(registers.output.initiate_flr):
            m.d.sync += active.eq(1)
