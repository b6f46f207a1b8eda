"""The endpoint against its link: rows of exact counts, on the native harness.

What is held against the link is counted in steady state, between the ends of two packets with data. The
driver costs no time; :class:`.load.Load` says how. The limit is what data takes on the wire, and requests for
it: what rings and headers take is the endpoint's.
"""

from collections.abc import Iterator

from ..native.library import IMMEDIATE
from . import dma
from .link import Traffic as Bytes
from .load import PAGE
from .on_native import measure
from .reference import LINK
from .report import Row
from .traffic import Kind, Traffic
from .workloads import FRAME, NET_HEADER, PAIRS, WORKLOADS

__all__ = [
    "both_ways",
    "bulk_from_host",
    "bulk_to_host",
    "dma_engines",
    "latency",
    "random_pages",
    "scaling",
    "small_packets",
]

RATE = "payload bytes per cycle"
#: Requests until a bulk measurement ends, and pages. Half of them pass before counting begins, so that as
#: many descriptors are read in that time as come back.
BULK_REQUESTS, PAGES = 72, 400
SETTLED = 0.5


def _limit(bytes_of_page: Bytes) -> float:
    """Bytes per cycle of what takes so many bytes on the wire for every page."""
    return PAGE / LINK.cycles(bytes_of_page)


READ, WRITE = LINK.read(PAGE), LINK.write(PAGE)
#: Bytes per cycle into the host and out of it, alone, and both at once in equal parts.
TO_HOST, FROM_HOST, EQUAL = _limit(WRITE), _limit(READ), _limit(WRITE + READ)
#: And both at once if neither has to wait for the other.
BOTH = {
    True: _limit(Bytes(to_host=(WRITE + READ).to_host)),
    False: _limit(Bytes(from_host=READ.from_host)),
}
WAYS = {True: "to host", False: "from host"}


def _rate(bench: str, config: str, traffic: Traffic, to_host: bool, limit: float, goal: float) -> Row:
    rate = traffic.rate(to_host=to_host, settled=SETTLED)
    return Row(bench, config, RATE, rate, limit, goal * limit)


def bulk_to_host(seed: int) -> Iterator[Row]:
    """Block reads."""
    work = WORKLOADS["bulk to host"]
    traffic = measure(work, BULK_REQUESTS, seed=seed)
    yield _rate("bulk to host", work.configuration.name, traffic, True, TO_HOST, 0.97)


def bulk_from_host(seed: int) -> Iterator[Row]:
    """Block writes."""
    work = WORKLOADS["bulk from host"]
    traffic = measure(work, BULK_REQUESTS, seed=seed)
    yield _rate("bulk from host", work.configuration.name, traffic, False, FROM_HOST, 0.97)


def both_ways(seed: int) -> Iterator[Row]:
    """Both at once, in turns in one queue, so that one is as fast as the other."""
    work = WORKLOADS["both ways"]
    traffic = measure(work, 2 * BULK_REQUESTS, seed=seed)
    for to_host, words in WAYS.items():
        bench = f"both ways at once, {words}"
        yield _rate(bench, work.configuration.name, traffic, to_host, EQUAL, 0.93)


def dma_engines(seed: int) -> Iterator[Row]:
    """Transfers of a page; nothing is random."""
    for to_host, limit in ((True, TO_HOST), (False, FROM_HOST)):
        traffic = dma.measure(reads=not to_host, writes=to_host, cycles=20_000)
        yield _rate(f"DMA engines alone, {WAYS[to_host]}", dma.NAME, traffic, to_host, limit, 0.99)
    traffic = dma.measure(reads=True, writes=True, cycles=20_000)
    for to_host, words in WAYS.items():
        rate = traffic.rate(to_host=to_host, settled=SETTLED)
        yield Row(f"DMA engines alone, both ways, {words}", dma.NAME, RATE, rate, BOTH[to_host])


def random_pages(seed: int) -> Iterator[Row]:
    """Requests of a page."""
    for name, to_host, limit in (("reads", True, TO_HOST), ("writes", False, FROM_HOST)):
        work = WORKLOADS[f"random {name}"]
        cycles = PAGE / measure(work, PAGES, seed=seed).rate(to_host=to_host, settled=SETTLED)
        least = PAGE / limit
        bench = f"random 4 KiB, {name}"
        yield Row(bench, work.configuration.name, "cycles per request", cycles, least, 1.1 * least, True)


def latency(seed: int) -> Iterator[Row]:
    """From the kick of a device that is at rest."""
    work = WORKLOADS["latency"]
    name = work.configuration.name
    first = measure(work, 1, seed=seed).delay(lambda packet: packet.to_host)
    yield Row("latency", name, "cycles from doorbell to first DMA TLP", first, None, 12, True)
    traffic = measure(work, 2, seed=seed, link=IMMEDIATE)
    last = traffic.delay(lambda packet: packet.kind is Kind.MESSAGE)
    words = "cycles from doorbell to interrupt, 1 byte, host without latency"
    yield Row("latency", name, words, last, None, 80, True)


#: Frames of 64 bytes until a measurement ends, at least, and for each pair. A quarter of them passes before
#: counting begins, which is more than the device has under way.
FRAMES, FRAMES_OF_PAIR = 3_000, 80
#: What a frame takes of the link with its header, as a read and as a write.
FRAME_BYTES = len(FRAME) + NET_HEADER
SENT, RECEIVED = LINK.cycles(LINK.read(FRAME_BYTES)), LINK.cycles(LINK.write(FRAME_BYTES))
PACKETS = {"out": (False, SENT), "in": (True, RECEIVED)}
PER_PACKET = "cycles per packet"


def _packets(way: str, pairs: int, seed: int) -> tuple[str, float, float]:
    """Configuration, cycles per frame, and bytes for rings."""
    work = WORKLOADS[f"packets {way}, {pairs} pairs"]
    traffic = measure(work, max(FRAMES, FRAMES_OF_PAIR * pairs), seed=seed)
    return work.configuration.name, *traffic.per_packet(to_host=PACKETS[way][0])


def small_packets(seed: int) -> Iterator[Row]:
    """Frames of 64 bytes on one pair of queues."""
    for way, (_, limit) in PACKETS.items():
        name, cycles, rings = _packets(way, 1, seed)
        yield Row(f"small packets {way}", name, PER_PACKET, cycles, limit, 6, True)
        yield Row(f"ring overhead, packets {way}", name, "link bytes per packet", rings, None, 40, True)


def scaling(seed: int) -> Iterator[Row]:
    """Frames of 64 bytes on many pairs of queues; the goal is what one pair does, and 10 % more."""
    one: dict[str, float] = {}
    for pairs in PAIRS:
        for way, (_, limit) in PACKETS.items():
            name, cycles, _ = _packets(way, pairs, seed)
            goal = 1.1 * one[way] if way in one else None
            one.setdefault(way, cycles)
            bench = f"scaling, {pairs} pair{'s' * (pairs > 1)} {way}"
            yield Row(bench, name, PER_PACKET, cycles, limit, goal, True)
