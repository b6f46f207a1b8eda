"""A virtio device but for its work: state, registers, and the PCI function they are in."""

from dataclasses import replace

from virtio_spec.virtio_pci import Interface

from .config_space import modern_identity, transitional_identity
from .dma import Dma
from .kind import DeviceKind
from .legacy import LegacyRegisters
from .modern import ModernRegisters
from .options import ALL, RingOptions
from .pci import MAX_VECTORS, PciFunction

__all__ = ["DeviceCore"]


class DeviceCore(ModernRegisters, LegacyRegisters):
    """All of a device but its work.

    Parameters
    ----------
    kind
        The device type.
    dma
        The way to host memory.
    interface
        Register interfaces it has.
    queue_size
        Largest size of every queue; on the legacy interface the only one.
    vectors
        Number of MSI-X vectors; by default one per queue and one for configuration changes, as far as
        they fit the table, or none for a device type without MSI-X.
    rings
        Features of rings and notifications that it offers, if it has queues: by default all.
    seed
        For the time that resets take.
    config_hold_ns
        How long the rest of a configuration field is kept for a driver that has read a part of it.
    """

    def __init__(
        self,
        kind: DeviceKind,
        dma: Dma,
        *,
        interface: Interface = Interface.MODERN,
        queue_size: int = 64,
        vectors: int | None = None,
        rings: RingOptions = ALL,
        seed: int = 0,
        config_hold_ns: int = 1_000_000_000,
    ):
        if interface not in kind.interfaces:
            known = " or ".join(kind.interfaces)
            raise ValueError(f"this device type is {known}, not {interface}")
        if vectors is None:
            vectors = min(kind.queues + 1, MAX_VECTORS) if kind.msix else 0
        if vectors and not kind.msix:
            raise ValueError(f"this device type has no MSI-X, so no {vectors} vectors")
        if kind.identity is not None:
            identity = replace(kind.identity, vectors=vectors)
        else:
            make = transitional_identity if interface.has_legacy else modern_identity
            identity = make(kind.device_type, kind.class_code, vectors)
        self.dma = dma
        has_config = kind.config_layout is not None
        self.pci = PciFunction(identity, self, dma, interface=interface, device_config=has_config)
        super().__init__(
            kind,
            interface,
            queue_size=queue_size,
            rings=rings,
            seed=seed,
            config_hold_ns=config_hold_ns,
        )
