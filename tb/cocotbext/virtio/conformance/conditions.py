"""Whether a requirement concerns a device: its condition, and what the device says of itself.

A condition is clauses between commas or ``and``, all of which have to hold; ``or`` within a clause is a
choice. ``X=1`` and ``offer(X)`` ask for a feature offered, as a driver can always accept one; ``X=0`` holds
always, as it can always decline one.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from virtio_spec.blk import BlkFeature
from virtio_spec.net import NetFeature
from virtio_spec.virtio import DeviceType, Feature
from virtio_spec.virtio_pci import CfgType, Interface

from ..modern import Modern
from ..suite import Bench
from .catalogue import Requirement

__all__ = ["Facts", "look", "why_not"]


@dataclass(frozen=True)
class Facts:
    """What a device says of itself.

    Attributes
    ----------
    device_type
        Virtio device ID.
    interface
        Its register interfaces.
    features
        Bits 0 to 63 of the offer, on all its interfaces; those beyond count as not offered.
    queues
        How many virtqueues there are.
    vectors
        Entries of its MSI-X table, 0 without one.
    structures
        Types of its virtio capabilities, in their order.
    """

    device_type: int
    interface: Interface
    features: int
    queues: int
    vectors: int
    structures: tuple[int, ...] = ()

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "Facts":
        """Back from ``asdict`` and JSON."""
        values = dict(given)
        values["interface"] = Interface(values["interface"])
        values["structures"] = tuple(values["structures"])
        return cls(**values)

    def offers(self, *names: str) -> bool:
        """Whether one of these features is offered."""
        bits = {**NUMBERS, **NUMBERS_OF.get(self.device_type, {})}
        if unknown := set(names) - bits.keys() - OTHERS:
            raise ValueError(f"there is no feature {', '.join(sorted(unknown))}")
        return any(name in bits and self.features >> bits[name] & 1 for name in names)


async def look(bench: Bench) -> Facts:
    """Facts on the device of a bench, which is reset by it."""
    features = 0
    ways = {"modern": bench.interface.has_modern, "legacy": bench.interface.has_legacy}
    for way in (way for way, there in ways.items() if there):
        transport = (await bench.probe(transport=way)).transport
        await transport.reset()  # a transitional device offers each interface its own
        features |= await transport.offered_features()
    device = await bench.probe()
    transport = device.transport
    await transport.reset()
    modern = transport if isinstance(transport, Modern) else None
    return Facts(
        device_type=device.device_type,
        interface=bench.interface,
        features=features,
        queues=await transport.num_queues(),
        vectors=await transport.vectors(),
        structures=tuple(structure.kind for structure in modern.structures) if modern else (),
    )


#: Feature bits by name, without those that depend on the type.
NUMBERS = MappingProxyType({feature.name: int(feature) for feature in Feature})
#: Of a device type, beside what ``virtio_spec`` has: features that are only asked for.
NUMBERS_OF: dict[int, dict[str, int]] = {
    DeviceType.NET: {
        **{feature.name: int(feature) for feature in NetFeature},
        "DEVICE_STATS": 50,
        "HASH_TUNNEL": 51,
        "VQ_NOTF_COAL": 52,
        "NOTF_COAL": 53,
        "GUEST_USO4": 54,
        "GUEST_USO6": 55,
        "RSS_CONTEXT": 64,
        "GUEST_UDP_TUNNEL_GSO": 65,
        "GUEST_UDP_TUNNEL_GSO_CSUM": 66,
        "HOST_USO": 56,
        "HOST_UDP_TUNNEL_GSO": 67,
        "HOST_UDP_TUNNEL_GSO_CSUM": 68,
        "OUT_NET_HEADER": 69,
        "IPSEC": 70,
    },
    DeviceType.BLOCK: {**{feature.name: int(feature) for feature in BlkFeature}, "BARRIER": 0, "SCSI": 7},
}
#: Names that some type has: a device of another one does not offer them.
OTHERS = {name for numbers in NUMBERS_OF.values() for name in numbers}

GUEST_GSO = ("GUEST_TSO4", "GUEST_TSO6", "GUEST_UFO", "GUEST_USO4", "GUEST_USO6")

Says = Callable[[Facts], Any]


def offering(*names: str) -> Says:
    """Whether one of these features is offered."""
    return lambda facts: facts.offers(*names)


def YES(facts: Facts) -> bool:
    """The driver, the host or the device's surroundings can bring it about."""
    return True


def NO(facts: Facts) -> bool:
    """For none of the devices that the kit knows."""
    return False


def HAS_QUEUES(facts: Facts) -> Any:
    """Whether there are virtqueues."""
    return facts.queues


def HAS_MODERN(facts: Facts) -> Any:
    """Whether there is the modern interface."""
    return facts.interface.has_modern


def HAS_VECTORS(facts: Facts) -> Any:
    """Whether there is MSI-X."""
    return facts.vectors


def HAS_CONFIG(facts: Facts) -> bool:
    """Whether its type has a device configuration."""
    return facts.device_type != DeviceType.ENTROPY


def IN_STANDARD(facts: Facts) -> bool:
    """Whether its type is one of the standard's."""
    return facts.device_type != DeviceType.VMMCI


#: Clauses that are words.
WORDS: dict[str, Says] = {
    "always": YES,
    "PCI": YES,
    "PCI add-in card": YES,
    "PCI with SR-IOV cap": NO,
    "no SR-IOV cap": YES,
    "DMA translated/limited by platform": YES,
    "several caps of a type": lambda facts: max(Counter(facts.structures).values(), default=0) > 1,
    "vendor cap": lambda facts: CfgType.VENDOR in facts.structures,
    "shared memory": lambda facts: CfgType.SHARED_MEMORY in facts.structures,
    "type has device config": HAS_CONFIG,
    "type exports objects": NO,
    "legacy": lambda facts: facts.interface.has_legacy,
    "legacy device": lambda facts: facts.interface.has_legacy,
    "transitional": lambda facts: facts.interface.has_legacy,
    "non-transitional": lambda facts: facts.interface == Interface.MODERN,
    "buggy legacy driver known": NO,
    "has MSI-X": HAS_VECTORS,
    "MSI-X enabled": HAS_VECTORS,
    "MSI-X disabled": YES,
    "queue vector NO_VECTOR": YES,
    "config vector NO_VECTOR": YES,
    "not acked": YES,
    "split": YES,
    "packed": offering("RING_PACKED"),
    "multi-buffer request": offering("MRG_RXBUF"),
    "DRIVER_OK=1": YES,
    "not PCI": NO,
    "type has transitional ID": lambda facts: facts.interface.has_legacy,
    "DISCARD": offering("DISCARD"),
    "WRITE_ZEROES": offering("WRITE_ZEROES"),
    "model HM unsupported": offering("ZONED"),
    # block
    "not zoned": lambda facts: not facts.offers("ZONED"),
    "HM/HA": YES,
    "model HM": offering("ZONED"),
    "model HA/NONE": offering("ZONED"),
    "unmap set": YES,
    "DISCARD/SECURE_ERASE/WRITE_ZEROES": offering("DISCARD", "SECURE_ERASE", "WRITE_ZEROES"),
    "persistent backend": YES,
    "storage has lifetime metrics": YES,
    "no meaningful metrics": YES,
    # network
    "any GUEST GSO": offering(*GUEST_GSO),
    "no GUEST TSO/UFO/USO": YES,
    "no HOST_TSO/USO/UFO": YES,
    "HOST_UDP_TUNNEL_GSO(_CSUM)=0": YES,
    "TUNNEL_GSO_CSUM=0": offering("HOST_UDP_TUNNEL_GSO"),
    "F_SECURITY set": offering("IPSEC"),
    "RSC_INFO set": offering("RSC_EXT"),
    "NEEDS_CSUM": YES,
    "DATA_VALID clear": YES,
    "UDP_TUNNEL_CSUM": offering("GUEST_UDP_TUNNEL_GSO_CSUM"),
    "gso_type≠NONE": offering(*GUEST_GSO),
    "gso NONE": YES,
    "GSO packet": YES,
    "NEEDS_CSUM set": offering("GUEST_CSUM"),
    "NEEDS_CSUM clear": YES,
    "DATA_VALID set": offering("GUEST_CSUM"),
    "tunnel bit": YES,
    "tunnel bit set": offering("HOST_UDP_TUNNEL_GSO"),
    "no tunnel bit": YES,
    "UDP_TUNNEL_CSUM set": offering("GUEST_UDP_TUNNEL_GSO_CSUM"),
    "UDP_TUNNEL_CSUM flag set": offering("HOST_UDP_TUNNEL_GSO_CSUM"),
    "F_SECURITY clear": YES,
    "flag clear": YES,
    "zero": YES,
    "auto steering": YES,
    "flow filter": offering("ADMIN_VQ"),
    "IPsec": offering("IPSEC"),
    "NOTF_COAL": offering("NOTF_COAL"),
    "VQ_NOTF_COAL": offering("VQ_NOTF_COAL"),
}

#: Areas that are about one device type.
TYPE_OF_AREA = {
    "net": DeviceType.NET,
    "blk": DeviceType.BLOCK,
    "console": DeviceType.CONSOLE,
    "entropy": DeviceType.ENTROPY,
    "scsi": DeviceType.SCSI,
    "rtc": DeviceType.RTC,
}
ABOUT_QUEUES = ("split-ring", "packed-ring", "split-ring-legacy", "queue-reset", "pci-used-notify")
ABOUT_MODERN = (
    "pci-cap",
    "pci-cfg-access",
    "pci-common-cfg",
    "pci-devcfg",
    "pci-layout",
    "pci-notify",
    "pci-shm",
    "pci-vendor",
    "suspend",
)

NO_QUEUES = "the device has no virtqueues"
LEGACY_ONLY = "the device has only the legacy interface"
NO_VECTORS = "the device has no MSI-X"
NO_CONFIG = "its type has no device configuration"
NO_FIELD = "the header of its frames has no such field"
FOREIGN = "its type is outside of the standard"
#: What areas and single requirements need beside their condition, and what is said if there is no such thing.
BESIDES: dict[str, tuple[Says, str]] = {
    **dict.fromkeys(ABOUT_QUEUES, (HAS_QUEUES, NO_QUEUES)),
    **dict.fromkeys(ABOUT_MODERN, (HAS_MODERN, LEGACY_ONLY)),
    "shm": (WORDS["shared memory"], "the device has no shared memory"),
    **dict.fromkeys(("STATUS-DEV-02", "STATUS-DEV-03", "INIT-LEG-DEV-02"), (HAS_QUEUES, NO_QUEUES)),
    **dict.fromkeys(("PCI-LEG-DEV-P04", "PCI-LEG-DEV-P05"), (HAS_QUEUES, NO_QUEUES)),
    **dict.fromkeys(
        ("FEAT-DEV-02", "FEAT-DEV-03", "FEAT-DEV-05", "FEAT-LEG-DEV-01"), (HAS_MODERN, LEGACY_ONLY)
    ),
    **dict.fromkeys(("RFB-DEV-01", "RFB-DEV-02", "RFB-DEV-03", "RFB-DEV-08"), (HAS_MODERN, LEGACY_ONLY)),
    **dict.fromkeys(("RFB-DEV-10", "PCI-ISR-DEV-01", "PCI-LEG-DEV-07"), (HAS_MODERN, LEGACY_ONLY)),
    **dict.fromkeys(("PCI-LEG-DEV-P01", "PCI-CCN-DEV-01"), (HAS_VECTORS, NO_VECTORS)),
    "PCI-LEG-DEV-P02": (
        lambda facts: HAS_VECTORS(facts) and HAS_CONFIG(facts),
        f"{NO_VECTORS}, or {NO_CONFIG}",
    ),
    **dict.fromkeys(("CFG-DEV-01", "NOTIF-DEV-P01", "PCI-DCFG-DEV-02"), (HAS_CONFIG, NO_CONFIG)),
    **dict.fromkeys(("PCI-CCN-DEV-02", "PCI-LEG-DEV-05", "PCI-LEG-DEV-06"), (HAS_CONFIG, NO_CONFIG)),
    "PCI-CC-DEV-06": (lambda facts: HAS_MODERN(facts) and HAS_CONFIG(facts), NO_CONFIG),
    **dict.fromkeys(("NET-DEV-019", "NET-DEV-051"), (offering("OUT_NET_HEADER"), NO_FIELD)),
    "NET-DEV-024": (offering("HOST_UDP_TUNNEL_GSO"), NO_FIELD),
    "NET-DEV-030": (offering("IPSEC"), NO_FIELD),
    **dict.fromkeys(("FEAT-DRV-07", "INIT-DRV-06", "INIT-DRV-07", "INIT-DRV-12"), (HAS_MODERN, LEGACY_ONLY)),
    **dict.fromkeys(("RFB-DRV-01", "RFB-DRV-10"), (HAS_MODERN, LEGACY_ONLY)),
    "RFB-LEG-DRV-01": (offering("ANY_LAYOUT"), "the device does not offer it"),
    **dict.fromkeys(("CLEAN-DRV-01", "CLEAN-DRV-02", "INIT-DRV-08", "INIT-DRV-15"), (HAS_QUEUES, NO_QUEUES)),
    "RFB-DRV-05": (HAS_QUEUES, NO_QUEUES),
    "FEAT-DRV-02": (offering("CSUM", "CTRL_VQ"), "none of its features needs another one"),
    **dict.fromkeys(("CFG-DRV-01", "CFG-DRV-03", "INIT-DRV-11", "PCI-LEG-DRV-03"), (HAS_CONFIG, NO_CONFIG)),
    "RFB-DRV-11": (NO, "the device has no capability for virtual functions"),
    "BLK-DRV-08": (offering("ZONED"), "the device offers no zones"),
    **dict.fromkeys(("PCI-ID-DEV-03", "PCI-ID-DEV-04"), (IN_STANDARD, FOREIGN)),
    **dict.fromkeys(("PCI-LEG-DEV-02", "PCI-LEG-DEV-03"), (IN_STANDARD, FOREIGN)),
}


def why_not(requirement: Requirement, facts: Facts) -> str:
    """Why a requirement does not concern a device, as a sentence; empty if it does."""
    area = requirement.area.removesuffix("-legacy")
    kind = TYPE_OF_AREA.get(area)
    if kind is not None and kind != facts.device_type:
        return f"it is about devices of the type {area}"
    if area == "mmio":
        return "it is about virtio over MMIO, and the device is a PCI function"
    if area == "admin" and not facts.offers("ADMIN_VQ"):
        return "the device has no administration virtqueue"
    for key in (requirement.area, requirement.id):
        says, sentence = BESIDES.get(key, (YES, ""))
        if not says(facts):
            return sentence
    for clause in re.split(r", | and |\+", requirement.applies_if):
        if not any(_holds(choice, facts) for choice in clause.split(" or ")):
            return f"the condition does not hold: {clause}"
    return ""


def _holds(clause: str, facts: Facts) -> bool:
    if clause in WORDS:
        return bool(WORDS[clause](facts))
    if found := re.fullmatch(r"(not )?offer\((\w+)\)", clause):
        return facts.offers(found[2]) != bool(found[1])
    if found := re.fullmatch(r"(\w+)=1", clause):
        return facts.offers(found[1])
    if found := re.fullmatch(r"(\w+)=0", clause):
        facts.offers(found[1])  # the name has to be one
        return True
    raise ValueError(f"there is no condition {clause!r}")
