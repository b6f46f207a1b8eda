"""Checks everything a device says on the link, more strictly than any root complex.

[PCIe base 5.0 §2.2 to §2.3]
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from virtio_spec.tlp import CompletionStatus

from ..memory import HostMemory
from .intx import IntxWires, is_intx
from .packet import Packet, enabled_runs
from .rules import READ_COMPLETION_BOUNDARY, Answer, answer_to, format_errors
from .shadow import ConfigShadow, Settings

__all__ = ["TlpChecker"]


@dataclass
class HostRequest:
    """A non-posted request of the host that waits for its completions."""

    packet: Packet
    must: bool
    before: Settings | None  # what held until then, if it changes any of it
    left: int  # bytes still to come
    position: int  # address of the next
    no_intx: bool  # INTx was forbidden for certain when it was sent


class TlpChecker:
    """Watches both directions of a raw TLP port, at the device; an :class:`~..phy.Observer`.

    Parameters
    ----------
    memory
        Holds the grants that every access of the device has to be inside of.
    is_message
        Whether a write of these bytes at this address is an interrupt the host asked for.
    now
        Time for the findings, in nanoseconds.

    Attributes
    ----------
    findings
        One sentence per broken rule, with the time and the packet.
    """

    def __init__(
        self, memory: HostMemory, is_message: Callable[[int, bytes], bool], now: Callable[[], int] = lambda: 0
    ):
        self.findings: list[str] = []
        self.shadow = ConfigShadow()
        self._memory, self._is_message, self._now = memory, is_message, now
        self._requests: dict[tuple[int, int], HostRequest] = {}
        self._reads: dict[int, Packet] = {}
        self.link_reset()

    # -- what is seen ------------------------------------------------------------------------------

    def from_host(self, dwords: Sequence[int]) -> None:
        """A packet that the device has taken."""
        if len(dwords) < (4 if dwords[0] >> 29 & 1 else 3):
            return  # cut off on purpose, for the device to drop
        packet = Packet(dwords)
        if packet.is_completion:
            self._completion_for_device(packet)
            return
        answer = answer_to(packet, self.shadow.settings().max_payload)
        if answer == Answer.NEVER:
            return
        before = self.shadow.settings()
        if packet.name == "CfgWr0" and answer == Answer.MUST and not packet.poisoned:
            self._config_write(packet)
        size = packet.bytes_to_complete
        no_intx = not before.intx and not any(request.before for request in self._requests.values())
        changed = before if self.shadow.settings() != before else None
        key = packet.requester_id, packet.tag
        if key in self._requests and self._requests[key].must:
            self._find("no completion, and its tag is used again,", self._requests[key].packet)
        self._requests[key] = HostRequest(
            packet, answer == Answer.MUST, changed, size, packet.address + packet.byte_offset, no_intx
        )

    def from_device(self, dwords: Sequence[int]) -> None:
        """A packet that the device has sent."""
        packet = Packet(dwords)
        for error in format_errors(packet):
            self._find(error, packet)
        if packet.name in ("MRd", "MWr"):
            self._memory_request(packet)
        elif packet.is_completion:
            self._completion_for_host(packet)
        elif packet.name == "Msg":
            self._requester(packet)
            if is_intx(packet):
                for error in self._wires.message(packet, self.shadow.interrupt_pin()):
                    self._find(error, packet)

    def link_reset(self) -> None:
        """What was on the link is gone, and so is what the function was told."""
        self.shadow.link_reset()
        self._device_ids = {0}
        self._requests.clear()
        self._reads.clear()
        self._wires = IntxWires()
        self._before_reset: Settings | None = None  # until a function-level reset is known to be over

    def broken_framing(self, what: str) -> None:
        """The device broke a rule of the stream itself."""
        self.findings.append(f"{self._now()} ns: {what}")

    def finish(self) -> None:
        """At the end, with the link at rest: every request has been answered."""
        for request in self._requests.values():
            if request.must:
                self._find("no completion for", request.packet)
        self._requests.clear()
        if self._wires.asserted and self._wires.forbidden:
            self.findings.append(
                f"{self._now()} ns: INTx is still asserted while MSI-X is on or it is disabled"
            )

    def forget_read(self, tag: int) -> None:
        """The host will not answer the device's read with this tag."""
        self._reads.pop(tag, None)

    def _find(self, what: str, packet: Packet) -> None:
        self.findings.append(f"{self._now()} ns: {what}: {packet}")

    # -- the device's requests -----------------------------------------------------------------------

    def _allowed(self) -> Settings:
        """The most that holds for the device.

        A right taken away lasts until that write is completed; one that a function-level reset takes, until
        the function answers a read again: what it had begun it may still send.  [§6.6.2]
        """
        held = [self.shadow.settings(), *(r.before for r in self._requests.values() if r.before)]
        if self._before_reset:
            held.append(self._before_reset)
        if len(held) == 1:
            return held[0]
        return Settings(*(max(values) for values in zip(*(vars(one).values() for one in held), strict=True)))

    def _requester(self, packet: Packet) -> None:
        if packet.requester_id not in self._device_ids:
            self._find("requester id is not the device's", packet)

    def _memory_request(self, packet: Packet) -> None:
        allowed = self._allowed()
        self._requester(packet)
        if not allowed.bus_master:
            self._find("bus mastering is off", packet)
        if packet.attr & 2 and not allowed.relaxed_ordering:
            self._find("relaxed ordering is off", packet)
        if packet.attr & 1 and not allowed.no_snoop:
            self._find("no-snoop is off", packet)
        size = 4 * packet.dword_count
        if packet.name == "MWr":
            if size > allowed.max_payload:
                self._find(f"longer than Max_Payload_Size {allowed.max_payload}", packet)
            if self._interrupt(packet, allowed):
                return
        else:
            if size > allowed.max_read_request:
                self._find(f"longer than Max_Read_Request_Size {allowed.max_read_request}", packet)
            if not allowed.extended_tag and packet.tag >= 32:
                self._find("extended tags are off", packet)
            if packet.tag in self._reads:
                self._find(f"tag is in use by {self._reads[packet.tag]}", packet)
            self._reads[packet.tag] = packet
        for start, end in enabled_runs(packet.first_be, packet.last_be, packet.dword_count):
            if not self._memory.check(packet.address + start, end - start, write=packet.name == "MWr"):
                self._find("outside of what the driver exposed", packet)

    def _interrupt(self, packet: Packet, allowed: Settings) -> bool:
        """Whether a write is an interrupt message."""
        content = b"".join(dword.to_bytes(4, "little") for dword in packet.payload)
        if not self._is_message(packet.address, content):
            return False
        if not allowed.msix:
            self._find("an interrupt while MSI-X is off or masked", packet)
        if packet.first_be != 0b1111:
            self._find("an interrupt with byte enables missing", packet)
        if packet.attr & 2:
            self._find("an interrupt with relaxed ordering may overtake its cause", packet)
        return True

    def _completion_for_device(self, packet: Packet) -> None:
        last = packet.status != CompletionStatus.SUCCESSFUL or not packet.has_data
        last |= (packet.byte_count or 4096) <= 4 * packet.dword_count - packet.lower_address % 4
        if last and packet.requester_id in self._device_ids:
            self._reads.pop(packet.tag, None)

    # -- the device's completions --------------------------------------------------------------------

    def _config_write(self, packet: Packet) -> None:
        """The function learns its number, and perhaps what it may do.  [§2.2.6.2]"""
        self._device_ids = {packet.dwords[2] >> 16 & ~7}
        before = self._allowed()
        if packet.function == 0 and self.shadow.write(packet.address, packet.first_be, packet.payload[0]):
            # A function-level reset: requests get lost, and the number may be, until the next write.
            self._device_ids |= {0}
            self._before_reset = before
            for request in self._requests.values():
                request.must = False
        if self.shadow.settings().intx:
            self._wires.forbidden = False

    def _completion_for_host(self, packet: Packet) -> None:
        key = packet.requester_id, packet.tag
        request = self._requests.get(key)
        if request is None:
            self._find("completes no request", packet)
            return
        asked = request.packet
        ids = self._device_ids | ({asked.dwords[2] >> 16} if asked.is_config and asked.function else set())
        if packet.completer_id not in ids:
            self._find("completer id is not the device's", packet)
        if packet.traffic_class != asked.traffic_class:
            self._find(f"traffic class is not that of {asked}", packet)
        if packet.attr != asked.attr:
            self._find(f"attributes are not those of {asked}", packet)
        if packet.name == "CplLk" and asked.name != "MRdLk":
            self._find(f"a locked completion for {asked}", packet)
        if packet.status == CompletionStatus.REQUEST_RETRY and not asked.is_config:
            self._find(f"retry status for {asked}", packet)
        if (packet.byte_count or 4096) != request.left:
            self._find(f"byte count should be {request.left}", packet)
        if packet.status != CompletionStatus.SUCCESSFUL:
            done = True
        elif asked.name in ("MRd", "IORd", "CfgRd0", "CfgRd1"):
            done = self._data(request, packet)
        else:
            done = True
            if packet.has_data:
                self._find(f"data for {asked}", packet)
            if packet.lower_address:
                self._find("lower address of a write's completion", packet)
        if done:
            del self._requests[key]
            if packet.has_data:
                self._read_ended(request)

    def _read_ended(self, request: HostRequest) -> None:
        """A read completion: every message before it has arrived.  [§2.4.1]"""
        if request.no_intx and not self.shadow.settings().intx:
            self._wires.forbidden = True
        if self._before_reset and request.must:
            self._before_reset = None
            if self._wires.asserted:
                self._find("INTx is still asserted after a function-level reset", request.packet)

    def _data(self, request: HostRequest, packet: Packet) -> bool:
        """A successful completion of a read; whether it is the last.  [§2.3.1.1]"""
        if not packet.has_data:
            self._find("success without data", packet)
            return True
        asked = request.packet
        lower = request.position & 0x7F if asked.name == "MRd" else 0
        if packet.lower_address != lower:
            self._find(f"lower address should be {lower:#04x}", packet)
        if 4 * packet.dword_count > self._allowed().max_payload:
            self._find("longer than Max_Payload_Size", packet)
        carried = 4 * packet.dword_count - lower % 4
        if carried >= request.left:
            if carried - request.left > 3:
                self._find("more data than asked for", packet)
            if asked.is_config and packet.payload and not asked.function:
                self.shadow.read(asked.address, asked.first_be, packet.payload[0])
            return True
        request.left -= carried
        request.position += carried
        if request.position % READ_COMPLETION_BOUNDARY:
            self._find(f"ends inside a {READ_COMPLETION_BOUNDARY}-byte block before the request does", packet)
        return False
