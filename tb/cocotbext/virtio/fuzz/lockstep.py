"""A driver's actions in any order, on two devices at the same time, which have to agree.

One is the reference model. What is compared after each action does not depend on how long a device takes:
registers, chains that came back and what is in them, messages, and what the driver was told.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from virtio_spec.virtio import DeviceStatus, Feature

from ..driver import Request, VirtioDevice
from ..function import DriverError
from ..host import BusError, HostTimeout
from ..modern import Modern
from ..suite.helpers import small
from ..suite.registry import Bench
from ..variant import variants

__all__ = ["ACTIONS", "Difference", "Lockstep"]

#: Until a device has done all that it will: far longer than a small request takes.
SETTLE_NS = 3_000
#: How many times as long a request may take on a slow link.
SLOW = 5
VARIANTS = [replace(found, ring_reset=True) for found in variants()]
SIZES = (8, 4, 16)
STATUS = (1, 2, 3, 8, 4, 11, 15, 128, 0x40)


class Difference(AssertionError):
    """The devices do not agree; the message has what each shows."""


@dataclass
class Side:
    """One of the devices, and its driver."""

    bench: Bench
    device: VirtioDevice
    prepared: bool = False
    bus: bool = True

    @property
    def transport(self) -> Modern:
        """Its registers."""
        assert isinstance(self.device.transport, Modern)
        return self.device.transport

    def forget(self) -> None:
        """It was reset: the driver takes back what it had exposed."""
        self.bench.host.memory.forget()
        self.prepared = False


Act = Callable[[Side, int], Awaitable[object]]
#: By name; each gets a number for its choices, and what it returns is compared, too.
ACTIONS: dict[str, Act] = {}


def action(act: Act) -> Act:
    """Something that a driver may do at any time."""
    ACTIONS[getattr(act, "__name__", "act")] = act
    return act


@action
async def reset(side: Side, number: int) -> None:
    """A virtio reset."""
    await side.device.reset()
    side.forget()


@action
async def function_level_reset(side: Side, number: int) -> None:
    """The function's, after which a driver switches the bus on."""
    await side.device.function_level_reset()
    await take_the_bus(side, 0)
    side.forget()


@action
async def negotiate(side: Side, number: int) -> object:
    """All steps to FEATURES_OK, from a reset, for some kind of rings."""
    await reset(side, number)
    side.device.variant = VARIANTS[number % len(VARIANTS)]
    await side.device.acknowledge()
    await side.device.negotiate()
    await side.device.features_ok()
    side.prepared = True
    return side.device.accepted


@action
async def set_up_interrupts(side: Side, number: int) -> None:
    """MSI-X, with the configuration's vector."""
    await side.device.set_up_interrupts()


@action
async def set_up_queue(side: Side, number: int) -> None:
    """The first one, if it was not."""
    if side.prepared and 0 not in side.device.queues:
        msix = bool(side.device.config_vector == 0)
        await side.device.set_up_queue(0, SIZES[number % len(SIZES)], interrupts=msix)


@action
async def driver_ok(side: Side, number: int) -> None:
    """If there is something to begin with."""
    if side.prepared:
        await side.device.driver_ok()


@action
async def start(side: Side, number: int) -> object:
    """All steps to DRIVER_OK."""
    accepted = await negotiate(side, number)
    await set_up_interrupts(side, number)
    await set_up_queue(side, number)
    await driver_ok(side, number)
    return accepted


@action
async def request(side: Side, number: int) -> object:
    """One, with a kick."""
    if not side.device.queues or side.device.queues[0].free < 4:
        return None
    made = side.device.prepare(0, *small(side.bench))
    await side.device.kick(0, always=bool(number % 4))
    return made.done


@action
async def kick(side: Side, number: int) -> None:
    """Without anything new, of a queue that may not exist."""
    await side.transport.notify(number % 3)


@action
async def reset_queue(side: Side, number: int) -> object:
    """What it had is lost. Not without the bus: a device may wait for it until its last write has left."""
    if not side.device.queues or not side.bus or not side.device.accepted >> Feature.RING_RESET & 1:
        return None
    return len(await side.device.reset_queue(0))


@action
async def write_status(side: Side, number: int) -> None:
    """Bits beside those that are set; FAILED and DEVICE_NEEDS_RESET among them."""
    await side.device.transport.add_status(DeviceStatus(STATUS[number % len(STATUS)]))


@action
async def set_queue_vector(side: Side, number: int) -> object:
    """One that exists, or not."""
    return await side.transport.set_queue_vector(0, (1, 0, 0xFFFF, 2, 77)[number % 5])


@action
async def mask_vector(side: Side, number: int) -> None:
    """Or unmask it."""
    await side.transport.mask_vector(1, bool(number % 2))


@action
async def mask_all(side: Side, number: int) -> None:
    """By the function's mask, or the other way round."""
    await side.transport.msix_control(enable=side.device.config_vector == 0, mask=bool(number % 2))


@action
async def take_the_bus(side: Side, number: int) -> None:
    """Switch bus mastering off, or on."""
    side.bus = not number % 2
    await side.transport.set_command(bus_master=side.bus)


@action
async def sleep(side: Side, number: int) -> None:
    """D3hot, and awake again."""
    await side.transport.set_power_state(3)
    await side.transport.set_power_state(0)


@action
async def write_queue_registers(side: Side, number: int) -> None:
    """Of a queue that is enabled, or of one that does not exist."""
    if 0 in side.device.queues:
        await side.transport.select(number % 2)
        await side.transport.set_common("queue_size", (0, 3, 2, 0xFFFF)[number % 4])


@action
async def write_features(side: Side, number: int) -> None:
    """After they were accepted, which is too late."""
    if side.prepared:
        await side.transport.accept_features(number)


class Lockstep:
    """Some devices and what was done to all of them.

    Parameters
    ----------
    benches
        Fresh and of the same kind; that of the reference model comes first.
    """

    def __init__(self, benches: Sequence[Bench]):
        self._benches = benches
        self._sides: list[Side] = []

    async def find(self) -> None:
        """Find them."""
        self._sides = [Side(bench, await bench.probe()) for bench in self._benches]

    async def act(self, name: str, number: int) -> None:
        """Do one of :data:`ACTIONS` to each, and compare; :class:`Difference`."""
        self._compare(name, [await _tried(side, name, number) for side in self._sides])

    async def finish(self) -> None:
        """Whatever was before: after a reset each works."""
        for name in ("take_the_bus", "start", "mask_vector", "mask_all"):
            await self.act(name, 0)
        await self.act("request", 1)
        for side in self._sides:
            if side.device.queues[0].returned != 1:
                raise Difference("a device does not work after a reset")

    @staticmethod
    def _compare(name: str, found: Sequence[dict[str, Any]]) -> None:
        expected = found[0]
        for other in found[1:]:
            if wrong := [key for key in expected if expected[key] != other[key]]:
                told = "; ".join(f"{key} is {other[key]!r}, not {expected[key]!r}" for key in wrong)
                raise Difference(f"after {name}: {told}")


async def _tried(side: Side, name: str, number: int) -> dict[str, Any]:
    try:
        result: object = await ACTIONS[name](side, number)
    except (BusError, DriverError, HostTimeout) as error:
        result = str(error)
    await side.bench.host.sleep(SETTLE_NS)
    if any(not ring.has_used and ring.in_flight for ring in side.device.queues.values()):
        await side.bench.host.sleep(SLOW * SETTLE_NS)
    return {"result": result, **await _observed(side)}


async def _observed(side: Side) -> dict[str, Any]:
    """All that is to be the same."""
    host, transport, device = side.bench.host, side.transport, side.device
    back: list[Request] = device.collect(0) if 0 in device.queues else []
    status = await transport.status()
    await transport.select(0)
    found: dict[str, Any] = {
        "status": status,
        "cause": (await device.diagnostics()).cause,
        "features": await transport.accepted_features(),
        "vector of the configuration": await transport.config_vector(),
        "chains that came back": [(one.used, side.bench.device != "rng" and one.content[-1]) for one in back],
        "messages": [host.interrupts(vector) for vector in range(2)],
        "pending": [await transport.pending(vector) for vector in range(2)],
        "violations": list(map(str, host.memory.violations)),
        "findings": [text for checker in side.bench.checkers for text in checker.findings],
    }
    for name in ("queue_size", "queue_enable", "queue_reset", "queue_msix_vector"):
        found[name] = await transport.common(name)
    return found
