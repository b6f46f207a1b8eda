"""Cases, what they run on, and how one is run.

A case is a coroutine function ``async def a_sentence(bench)`` in a module of this package. It may use
nothing but the bench; whatever state it leaves the device in, the next case starts from a reset.
"""

import importlib
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from virtio_models.clock import Clock
from virtio_models.disk import Disk
from virtio_models.entropy import EntropySource
from virtio_models.network import Network
from virtio_spec.virtio import DeviceType
from virtio_spec.virtio_pci import Interface
from virtio_spec.vmmci import VmmciAnswer, VmmciCommand, VmmciEvent

from ..driver import VirtioDevice, probe
from ..host import Host
from ..transport import Transport
from ..variant import PLAIN, RingVariant, Variants
from .link import RawLink

__all__ = [
    "DIRECT",
    "EVENT_IDX",
    "EVERY",
    "EVERY_DEVICE",
    "INDIRECT",
    "IN_ORDER",
    "LEGACY",
    "MODERN",
    "ONCE",
    "PACKED",
    "SPLIT",
    "WITH_QUEUES",
    "Bench",
    "Case",
    "CaseFailure",
    "Checker",
    "HostSide",
    "case",
    "cases",
    "run_case",
]


def EVERY(variant: RingVariant) -> bool:
    """For all variants of rings."""
    return True


def ONCE(variant: RingVariant) -> bool:
    """For the plain one, because they make no difference."""
    return variant.ring == PLAIN


def SPLIT(variant: RingVariant) -> bool:
    """For split rings."""
    return not variant.packed


def PACKED(variant: RingVariant) -> bool:
    """For packed rings."""
    return variant.packed


def DIRECT(variant: RingVariant) -> bool:
    """For rings without indirect tables."""
    return not variant.indirect


def INDIRECT(variant: RingVariant) -> bool:
    """For rings with indirect tables."""
    return variant.indirect


def EVENT_IDX(variant: RingVariant) -> bool:
    """For rings with event indices."""
    return variant.event_idx


def IN_ORDER(variant: RingVariant) -> bool:
    """For rings whose chains come back in order."""
    return variant.in_order


#: Modules of this package that hold cases, in the order in which they run, and for which variants of rings
#: their cases are if they say nothing else.
MODULES: dict[str, Variants] = {
    "pci": ONCE,
    "bus": ONCE,
    "malformed": ONCE,
    "common": ONCE,
    "suspend": ONCE,
    "legacy": ONCE,
    "legacy_header": ONCE,
    "transitional": ONCE,
    "msix": ONCE,
    "intx": ONCE,
    "chains": EVERY,
    "descriptors": EVERY,
    "split": SPLIT,
    "packed": PACKED,
    "indirect": INDIRECT,
    "events": EVERY,
    "in_order": IN_ORDER,
    "notifications": EVERY,
    "queue_reset": EVERY,
    "dma": EVERY,
    "config_reads": ONCE,
    "crowds": EVERY,
    "stopped": EVERY,
    "rng": EVERY,
    "blk": EVERY,
    "net": EVERY,
    "queues": EVERY,
    "vmmci": ONCE,
    "outages": EVERY,
    "hostile_setup": ONCE,
    "hostile_rings": EVERY,
    "hostile_requests": ONCE,
}

#: Virtio device ids by their short names.
TYPES = {
    "rng": DeviceType.ENTROPY,
    "blk": DeviceType.BLOCK,
    "net": DeviceType.NET,
    "vmmci": DeviceType.VMMCI,
}

#: Values of :attr:`Case.devices` and :attr:`Case.transports`.
EVERY_DEVICE = tuple(TYPES)
WITH_QUEUES = ("rng", "blk", "net")
MODERN, LEGACY = ("modern",), ("legacy",)


#: What this project's devices have, and other ones need not have. ``"robust"``: what a driver must not do has
#: no effect, where the standard leaves it open. ``"mixed"``: a chain may begin in the ring and end in a
#: table; ``"write_flag"``: used descriptors of packed rings have it; cases that are about something else do
#: without where these are known to be wrong. ``"diagnostics"``: the block that tells a cause.
#: ``"health_tests"``: a bad source of noise is noticed. ``"card"``: the device is hardware on a bus.
#: ``"completions"``: the host sees how a request ended.
_OWN = frozenset({"robust", "mixed", "write_flag", "diagnostics", "health_tests", "card", "completions"})
#: What is behind its network devices: a link whose speed is known, checksums that are left to the device, and
#: several pairs of queues.
_CABLE = frozenset({"speed", "checksums", "pairs"})
#: A bench knows what is behind its device.
_BEHIND = frozenset({"behind"})
_FEATURES = frozenset({"ring_reset", "notification_data", "notif_config_data"})
#: What cases may need that not every backend has: ``"link"`` is raw packets; features of its devices that are
#: outside the variants of rings; and what is this project's own.
ABILITIES = {
    "model": _FEATURES | _OWN | _CABLE | _BEHIND,
    "cocotb": _FEATURES | _OWN | _CABLE | _BEHIND | {"link"},
    "native": _FEATURES | _OWN | _CABLE | _BEHIND | {"link"},
    "qtest": _BEHIND | {"ring_reset"},
    "own": _BEHIND | {"mixed", "write_flag", "card", "completions", "pairs"},
    "vfio": frozenset({"mixed", "write_flag", "card", "pairs"}),
}


class CaseFailure(AssertionError):
    """A case ran through, but a checker or the memory found something."""


class Checker(Protocol):
    """A passive monitor; ``findings`` are sentences, one per broken rule, appended as they happen."""

    findings: list[str]


class HostSide(Protocol):
    """The port of a vmmci through which its host speaks to the guest.

    ``events`` is what the guest made of it, in order.
    """

    events: list[tuple[VmmciEvent, VmmciCommand]]

    async def request(self, command: int) -> VmmciAnswer:
        """Ask for a command, of two bits; what the device says to that."""
        ...


@dataclass
class Bench:
    """What a case runs on.

    Parameters
    ----------
    host
        The device is below it, enumerated.
    device
        ``"rng"``, ``"blk"``, ``"net"`` or ``"vmmci"``.
    backend
        Name of the backend, one of :data:`ABILITIES`.
    queue_size
        Largest size that the device offers for :attr:`queue`.
    disk, entropy, network
        What is behind the device; those of the other device types are unused.
    clock, vmmci
        The time that a vmmci shows, and its host's side; of the other device types there is neither.
    interface
        Which register interfaces the device has.
    transport
        Through which of them the driver works, ``"modern"`` or ``"legacy"``.
    habit
        How a legacy driver reads the device configuration, ``"natural"`` or ``"bytes"``.
    width
        Data path in bits, for the report.
    read_only
        Whether the block device offers VIRTIO_BLK_F_RO.
    queues
        How many queues the device has; a network device two for each pair, and the control queue.
    variant
        The ring features that the driver negotiates and uses.
    without
        Of :data:`ABILITIES` of its backend, those that this device is known not to have.
    seed
        For everything random.
    checkers
        Watch the device; looked at after every case.
    link
        Raw packets, where the backend has them.
    completion_timeout_ns
        After which the device gives up a read, for cases that need ``link``.
    config_hold_ns
        How long a read of the device configuration that stops half-way is waited for.
    ack_timeout_ns, shutdown_timeout_ns
        How long a vmmci waits for an acknowledgement, and after that for the guest.
    """

    host: Host
    device: str
    backend: str
    queue_size: int
    disk: Disk
    entropy: EntropySource
    network: Network = field(default_factory=Network)
    clock: Clock = field(default_factory=Clock)
    vmmci: HostSide | None = None
    interface: Interface = Interface.MODERN
    transport: str = "modern"
    habit: str = "natural"
    width: int = 0
    read_only: bool = False
    queues: int = 1
    variant: RingVariant = PLAIN
    without: frozenset[str] = frozenset()
    seed: int = 0
    checkers: list[Checker] = field(default_factory=list)
    link: RawLink | None = None
    completion_timeout_ns: int = 0
    config_hold_ns: int = 0
    ack_timeout_ns: int = 0
    shutdown_timeout_ns: int = 0
    rng: random.Random = field(init=False)
    _transports: dict[tuple[str, str], Transport] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    @property
    def queue(self) -> int:
        """Number of the queue in which cases for all device types make their requests.

        It is the one whose requests have answers: of a network device the control queue.
        """
        return 2 if self.device == "net" else 0

    def has(self, ability: str) -> bool:
        """Whether its backend has one of :data:`ABILITIES`, and the device does, too."""
        return ability in ABILITIES[self.backend] - self.without

    @property
    def vector(self) -> int:
        """The vector of :attr:`queue`."""
        return self.queue + 1

    async def probe(self, *, transport: str | None = None, habit: str | None = None) -> VirtioDevice:
        """The device, found and known, but not yet initialised; its capabilities are read only once.

        ``transport`` and ``habit`` are the bench's if nothing else is said.
        """
        chosen = transport or self.transport, habit or self.habit
        if chosen not in self._transports:
            found = await probe(self.host, transport=chosen[0], habit=chosen[1])
            self._transports[chosen] = found.transport
        device = VirtioDevice(
            self.host, self._transports[chosen], TYPES[self.device], rng=self.rng, variant=self.variant
        )
        device.mixed, device.write_flag = self.has("mixed"), self.has("write_flag")
        return device

    async def start(self, **options: Any) -> VirtioDevice:
        """The device up to DRIVER_OK; ``options`` are those of :meth:`VirtioDevice.start`.

        A packed ring has some number of entries between 12 and 16 if no other is given.
        """
        device = await self.probe()
        if options.get("variant", self.variant).packed:
            options.setdefault("queue_size", self.rng.randrange(12, 17))
        await device.start(**options)
        return device


@dataclass(frozen=True)
class Case:
    """One entry of the test list.

    Attributes
    ----------
    name
        ``module.function``.
    run
        The coroutine function.
    devices
        Device types it runs on.
    proves
        Requirement ids, the part before the text in the requirements list.
    breaks
        Ids of the requirements for drivers that it breaks on purpose.
    traps
        Numbers of the known hardware traps that it covers.
    profile
        ``"default"``, ``"read_only"`` for a block device that offers VIRTIO_BLK_F_RO, ``"queues"`` for
        one with several queues, or a network device with several pairs of them.
    backends
        Where it runs; empty for everywhere.
    needs
        What a backend must have of :data:`ABILITIES`.
    transports
        Through which a driver may run it.
    interfaces
        Which devices it is for, by their register interfaces.
    variants
        Whether it is for a variant of rings.
    """

    name: str
    run: Callable[[Bench], Awaitable[None]]
    devices: tuple[str, ...]
    proves: tuple[str, ...]
    traps: tuple[int, ...]
    profile: str
    backends: tuple[str, ...]
    needs: tuple[str, ...] = ()
    transports: tuple[str, ...] = (*MODERN, *LEGACY)
    interfaces: tuple[str, ...] = tuple(Interface)
    variants: Variants = EVERY
    breaks: tuple[str, ...] = ()


_registered: dict[str, Case] = {}


def _all(wanted: Sequence[Variants]) -> Variants:
    """For those that all of ``wanted`` are for."""
    return lambda variant: all(each(variant) for each in wanted)


def case(
    *,
    devices: Sequence[str] = WITH_QUEUES,
    proves: Sequence[str] = (),
    traps: Sequence[int] = (),
    profile: str = "default",
    backends: Sequence[str] = (),
    needs: Sequence[str] = (),
    transports: Sequence[str] = (*MODERN, *LEGACY),
    interfaces: Sequence[str] = tuple(Interface),
    variants: Variants | Sequence[Variants] = (),
    breaks: Sequence[str] = (),
) -> Callable[[Callable[[Bench], Awaitable[None]]], Callable[[Bench], Awaitable[None]]]:
    """Put a coroutine function on the test list; see :class:`Case`.

    Several of ``variants`` all have to hold; without any, it is what :data:`MODULES` has.
    """
    wanted = (variants,) if callable(variants) else tuple(variants)

    def register(run: Callable[[Bench], Awaitable[None]]) -> Callable[[Bench], Awaitable[None]]:
        module = run.__module__.rpartition(".")[2]
        name = f"{module}.{getattr(run, '__name__', 'case')}"
        if name in _registered:
            raise ValueError(f"there are two cases {name!r}")
        _registered[name] = Case(
            name,
            run,
            tuple(devices),
            tuple(proves),
            tuple(traps),
            profile,
            tuple(backends),
            tuple(needs),
            tuple(transports),
            tuple(interfaces),
            _all(wanted or (MODULES.get(module, EVERY),)),
            tuple(breaks),
        )
        return run

    return register


def cases(
    device: str,
    *,
    profile: str = "default",
    backend: str | None = None,
    interface: str | None = None,
    transport: str | None = None,
    variant: RingVariant | None = PLAIN,
    abilities: Collection[str] = (),
) -> list[Case]:
    """The cases for a device type and profile, in order.

    With ``backend``, ``interface`` or ``transport``, only those that run there; ``abilities`` are what its
    bench has beside those of its backend. With ``variant``, and that is the plain one if nothing is said,
    those for such rings; ``None`` for all.
    """
    for module in MODULES:
        importlib.import_module(f".{module}", __package__)
    order = list(MODULES)
    found = [
        entry
        for entry in _registered.values()
        if device in entry.devices
        and entry.profile == profile
        and (backend is None or not entry.backends or backend in entry.backends)
        and (backend is None or ABILITIES[backend].union(abilities).issuperset(entry.needs))
        and (interface is None or interface in entry.interfaces)
        and (transport is None or transport in entry.transports)
        and (variant is None or entry.variants(variant))
    ]
    return sorted(found, key=lambda entry: order.index(entry.name.partition(".")[0]))


async def run_case(entry: Case, bench: Bench) -> None:
    """Run one case from a reset device; :class:`AssertionError` and others where it fails.

    The device of a case that breaks something has to survive it, see :mod:`.survival`.

    The random numbers depend on the bench's seed and the case's name only, not on what ran before.
    """
    bench.rng = random.Random(f"{bench.seed} {entry.name}")
    bench.disk.heal()
    bench.entropy.heal()
    bench.network.heal()
    await _quiesce(bench)
    if bench.vmmci is not None:
        bench.vmmci.events.clear()
    bench.host.memory.violations.clear()
    seen = [len(checker.findings) for checker in bench.checkers]
    await entry.run(bench)
    if entry.breaks:
        await importlib.import_module(".survival", __package__).survived(bench)
    await _quiesce(bench)
    found = [
        text for checker, old in zip(bench.checkers, seen, strict=True) for text in checker.findings[old:]
    ]
    found += map(str, bench.host.memory.violations)
    bench.host.memory.violations.clear()
    if found:
        raise CaseFailure("; ".join(found))


async def _quiesce(bench: Bench) -> None:
    """Reset the device; what the driver had allocated and exposed is taken back only then."""
    if bench.link is not None:
        bench.link.forget()
    await (await bench.probe()).reset()
    bench.host.memory.forget()
