"""The link that the endpoint is measured on, PCI Express Gen3 x8, and a host that is 1 µs away."""

from cocotbext.virtio.driver import VirtioDevice
from virtio_spec import wire
from virtio_spec.pci import Capability, DeviceControl

from ..bench_of import PERIOD_NS
from ..native.library import LinkModel
from .link import FRAMING_BYTES, Link

__all__ = ["LINK", "MODEL", "READ_LATENCY_NS", "WIDTH", "configure"]

#: Of the data path, in bits.
WIDTH = 256
#: From the end of a read request to its first completion.
READ_LATENCY_NS = 1000
LINK = Link(8, max_payload=256, max_read_request=512)
#: The same for the native harness. Completions are as long as Max_Payload_Size allows, and come in the order
#: of the requests; the host holds 64 posted packets.
MODEL = LinkModel(
    bytes_per_kilocycle=round(1000 * LINK.bytes_per_cycle),
    packet_bytes=FRAMING_BYTES,
    memory_latency=READ_LATENCY_NS // PERIOD_NS,
    boundary=64,
    completion=LINK.max_payload,
    shuffle=False,
    posted_credits=64,
)
DEVICE_CONTROL = 8  # offset in the PCI Express capability


async def configure(device: VirtioDevice) -> None:
    """Set sizes and extended tags as the host of this link does; the device is not running."""
    place = device.transport.capability(Capability.PCI_EXPRESS) + DEVICE_CONTROL
    control = wire.pack(
        DeviceControl,
        max_payload=_field(LINK.max_payload),
        max_read_request=_field(LINK.max_read_request),
        extended_tag=1,
    )
    await device.host.config_write(place, 2, int.from_bytes(control, "little"))


def _field(size: int) -> int:
    """How Device Control says ``size`` bytes: 128 << n."""
    return (size // 128).bit_length() - 1
