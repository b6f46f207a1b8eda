"""One run: valid requests, oddities, and whether the device deals with them as the standard lets it."""

import random
from dataclasses import dataclass, field

from virtio_spec.blk import SECTOR_BYTES
from virtio_spec.layout import Cause
from virtio_spec.virtio import DeviceStatus
from virtio_spec.virtio_pci import IsrStatus

from ..devices.blk import VirtioBlk
from ..driver import Request, VirtioDevice
from ..function import DriverError
from ..host import HostTimeout
from ..suite.helpers import QUIET_NS, exercise, same
from ..suite.registry import Bench
from .completions import FAULTS, Fault
from .malformations import CATALOGUE
from .oddity import Oddity, Verdict
from .plan import LINK, PAUSE, QUEUE_RESET, REQUESTS, Plan, Step
from .work import Load, Work, load_of
from .workshop import Workshop, lay_traps

__all__ = ["FuzzFailure", "Outcome", "fuzz"]

#: How long a device may take until it has answered everything or given up, beside its completion time-outs.
LIMIT_NS = 300_000
#: How often the status is looked at meanwhile.
LOOK_NS = 10_000
#: Completion time-outs that may follow each other.
TIMEOUTS = 4
MOST_REQUESTS = 8
PAUSE_NS = 3_000
#: Descriptors that are waited for, and how often, before a chain is written that is not what it should be.
ROOM, ROOM_TRIES = 4, 4


class FuzzFailure(AssertionError):
    """The run went through, but a checker or the memory found something."""


@dataclass
class Outcome:
    """What became of a run.

    Attributes
    ----------
    cause
        Why the device needed a reset, ``NONE`` if it did not.
    oddities
        Names of those that were done.
    answered
        Valid requests that came back.
    """

    cause: Cause = Cause.NONE
    oddities: list[str] = field(default_factory=list)
    answered: int = 0


async def fuzz(bench: Bench, plan: Plan) -> Outcome:
    """Carry a plan out on a bench that nothing else was done with; an exception if anything is wrong."""
    bench.variant = plan.variant
    bench.rng = random.Random(f"{plan.seed} bench")
    run = _Run(bench, plan)
    await run.carry_out()
    found = [text for checker in bench.checkers for text in checker.findings]
    found += map(str, bench.host.memory.violations)
    if found:
        raise FuzzFailure("; ".join(found))
    return run.outcome


class _Run:
    """Its state."""

    device: VirtioDevice
    load: Load

    def __init__(self, bench: Bench, plan: Plan):
        self.bench, self.plan, self.outcome = bench, plan, Outcome()
        self.open = list(range(len(plan.sizes)))  # queues that valid requests may go to
        self.confused: set[int] = set()  # queues in which nobody knows what comes back
        self.waiting: list[Work] = []
        self.oddities: list[Oddity] = []
        self.faults: list[Fault] = []
        self.told = 0

    async def carry_out(self) -> None:
        """From the start of the device to its work after a reset."""
        bench, plan = self.bench, self.plan
        sizes = dict(enumerate(plan.sizes))
        self.device = await bench.start(queues=sizes, queue_size=None, interrupts=plan.interrupts)
        self.load = load_of(bench, self.device, random.Random(f"{plan.seed} load"))
        self.told = bench.host.interrupts(0)
        for ring in self.device.queues.values():
            lay_traps(ring)
        for step in plan.steps:
            await self._step(step, random.Random(f"{plan.seed} {step.number}"))
        for oddity in self.oddities:
            if oddity.repair is not None and bench.rng.random() < 0.5:
                await self._repair(oddity)
        if not plan.impatient:
            await self._settle()
        if bench.rng.random() < 0.5:
            await self._release()
        await self._reset()

    # -- what happens --------------------------------------------------------------------------------

    async def _step(self, step: Step, rng: random.Random) -> None:
        if step.kind == REQUESTS:
            for _ in range(rng.randrange(1, MOST_REQUESTS + 1)):
                if self.open:
                    await self._request(rng.choice(self.open), rng)
        elif step.kind == PAUSE:
            await self.bench.host.sleep(rng.randrange(1, PAUSE_NS))
        elif step.kind == QUEUE_RESET:
            await self._reset_queue(rng)
        elif step.kind == LINK:
            await self._answer_badly(step.oddity, rng)
        elif self.open:
            await self._malform(step.oddity, rng)
        self._collect()

    async def _request(self, queue: int, rng: random.Random) -> None:
        try:
            work = self.load.request(queue, rng)
        except DriverError:  # there is no room
            return
        self.waiting.append(work)
        if rng.random() < 0.7:
            await self.device.kick(queue)

    async def _malform(self, name: str, rng: random.Random) -> None:
        entry, queue = CATALOGUE[name], rng.choice(self.open)
        for _ in range(ROOM_TRIES):
            if self.device.queues[queue].free >= ROOM:
                break
            await self.device.kick(queue)
            await self.bench.host.sleep(PAUSE_NS)
            self._collect()
        if entry.confuses or rng.random() < 0.5:
            await self._request(queue, rng)
            await self.device.kick(queue)
            await self.bench.host.sleep(rng.randrange(1, 600))
            self._collect()
        under_way = [work for work in self.waiting if work.request.queue == queue]
        shop = Workshop(
            self.device, queue, load=self.load, rng=rng, limit=self.bench.queue_size, under_way=under_way
        )
        try:
            made = entry.make(shop)
        except DriverError:  # there is no room, or nothing to be changed
            return
        self.outcome.oddities.append(name)
        if entry.verdict != Verdict.BROKEN:
            shop.may_store()
        self.oddities.append(Oddity(name, entry.verdict, queue, made.request, shop.check, made.repair))
        if entry.closes:
            self.open.remove(queue)
        if entry.confuses:
            self.confused.add(queue)
        await self.device.kick(queue, always=True)

    async def _answer_badly(self, name: str, rng: random.Random) -> None:
        """For the reads of the requests that are made along with it."""
        fault = Fault(self.bench, FAULTS[name], rng)
        self.outcome.oddities.append(name)
        self.faults.append(fault)
        for _ in range(rng.randrange(1, MOST_REQUESTS)):
            if self.open:
                await self._request(rng.choice(self.open), rng)
        for queue in self.open:
            await self.device.kick(queue)
        await self.bench.host.sleep(rng.randrange(1, PAUSE_NS))
        if FAULTS[name].harmless:
            await fault.release()

    async def _reset_queue(self, rng: random.Random) -> None:
        """One queue, which begins anew, whatever was in it; what was wrong may have been seen, or not."""
        self._collect()
        queue = rng.randrange(len(self.plan.sizes))
        await self.device.reset_queue(queue)
        self.waiting = [work for work in self.waiting if work.request.queue != queue]
        for oddity in self.oddities:
            if oddity.queue == queue:
                oddity.request = oddity.repair = None
                if oddity.verdict == Verdict.BROKEN:
                    oddity.verdict = Verdict.EITHER
        self.confused.discard(queue)
        self.open = sorted({*self.open, queue})
        lay_traps(
            await self.device.set_up_queue(queue, self.plan.sizes[queue], interrupts=self.plan.interrupts)
        )

    async def _repair(self, oddity: Oddity) -> None:
        self._collect()
        assert oddity.repair is not None
        oddity.repair()
        oddity.verdict = Verdict.SERVED
        await self.device.kick(oddity.queue, always=True)

    async def _release(self) -> None:
        """What did not come in time, comes now."""
        for fault in self.faults:
            await fault.release()

    # -- what becomes of it --------------------------------------------------------------------------

    def _collect(self) -> None:
        """Take back what has come back, and look at it."""
        for queue in self.device.queues:
            if queue not in self.confused:
                self.device.collect(queue)
        for oddity in self.oddities:
            request = oddity.request
            if request is None or not request.done:
                continue
            if oddity.verdict in (Verdict.BROKEN, Verdict.UNSEEN):
                raise AssertionError(f"the device has made something of {oddity.name}")
            if oddity.verdict == Verdict.SERVED and not any(fault.struck for fault in self.faults):
                oddity.check()
            oddity.request = None
        done = [work for work in self.waiting if work.request.done]
        self.waiting = [work for work in self.waiting if not work.request.done]
        for work in done:
            self.outcome.answered += 1
            work.check(self._refused(work.request))

    def _due(self) -> list[str]:
        """What has to come back, unless the device breaks."""
        due = [work.what for work in self.waiting if work.request.queue not in self.confused]
        for odd in self.oddities:
            comes_back = odd.request is not None and odd.verdict in (Verdict.SERVED, Verdict.EITHER)
            due += [odd.name] if comes_back and odd.queue not in self.confused else []
        return due

    def _refused(self, request: Request) -> bool:
        """Whether a read of its buffers was answered badly: an error is right, then."""
        ranges = [(buffer.address, buffer.size) for buffer in request.readable]
        return any(fault.concerns(ranges) for fault in self.faults)

    @property
    def _may_break(self) -> bool:
        odd = any(odd.verdict not in (Verdict.SERVED, Verdict.UNSEEN) for odd in self.oddities)
        return odd or any(fault.struck for fault in self.faults)

    @property
    def _must_break(self) -> bool:
        return any(odd.verdict == Verdict.BROKEN for odd in self.oddities)

    async def _settle(self) -> None:
        """Until everything that is due has come back, or the device has said that it needs a reset."""
        host = self.bench.host
        for queue in self.open:
            await self.device.kick(queue)
        end = host.now_ns() + LIMIT_NS + TIMEOUTS * self.bench.completion_timeout_ns
        while not await self._broken():
            self._collect()
            if not self._due() and not self._must_break:
                await host.sleep(QUIET_NS)  # perhaps it breaks still, or does more than it should
                self._collect()
                if not await self._broken():
                    return
                break
            if host.now_ns() > end:
                missing = ", ".join(self._due()) or "DEVICE_NEEDS_RESET"
                raise AssertionError(f"the device neither goes on nor gives up: {missing} is missing")
            seen = {number: ring.returned for number, ring in self.device.queues.items()}
            try:
                await host.until(lambda seen=seen: self._news(seen), timeout_ns=LOOK_NS)
            except HostTimeout:
                continue
        self._collect()
        if not self._may_break:
            cause = Cause((await self.device.diagnostics()).cause)
            raise AssertionError(f"the device has given up because of {cause.name}, and nothing was wrong")

    def _news(self, seen: dict[int, int]) -> bool:
        host, rings = self.bench.host, self.device.queues
        return host.interrupts(0) != self.told or any(
            rings[number].returned != before for number, before in seen.items() if number not in self.confused
        )

    async def _broken(self) -> bool:
        """Whether the device needs a reset, and has said so.  [STATUS-DEV-02, STATUS-DEV-03]"""
        status = await self.device.transport.status()
        if not status & DeviceStatus.DEVICE_NEEDS_RESET:
            return False
        self.outcome.cause = Cause((await self.device.diagnostics()).cause)
        if self.plan.interrupts:
            await self.device.wait_interrupt(0, self.told)
        isr = await self.device.transport.isr()
        same(isr & IsrStatus.CONFIG, IsrStatus.CONFIG, "configuration bit of the ISR")
        return True

    async def _reset(self) -> None:
        """Afterwards all is well, whatever was before.  [RESET-DEV-01, RESET-DEV-02]"""
        bench, device = self.bench, self.device
        await (device.function_level_reset() if self.plan.flr else device.reset())
        self.load.finish()
        bench.host.memory.forget()
        await bench.host.sleep(QUIET_NS)
        await self._release()
        await device.start(queue_size=8)
        same((await device.diagnostics()).cause, Cause.NONE, "cause after the reset")
        await exercise(bench, device)
        if bench.device == "blk":
            for queue in device.queues:
                sector = bench.rng.randrange(bench.disk.capacity)
                data = bench.rng.randbytes(SECTOR_BYTES)
                await VirtioBlk(device).write(sector, data, queue=queue)
                same(await VirtioBlk(device).read(sector, 1, queue=queue), data, f"sector {sector}")
