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
from .workloads import WORKLOADS

__all__ = ["both_ways", "bulk_from_host", "bulk_to_host", "dma_engines", "latency", "random_pages"]

RATE = "payload bytes per cycle"
#: Requests until a bulk measurement ends, and pages.
BULK_REQUESTS, PAGES = 24, 400


def _limit(bytes_of_page: Bytes) -> float:
    """Bytes per cycle of what takes so many bytes on the wire for every page."""
    return PAGE / LINK.cycles(bytes_of_page)


READ, WRITE = LINK.read(PAGE), LINK.write(PAGE)
#: Bytes per cycle into the host and out of it, alone and both at once.
TO_HOST, FROM_HOST = _limit(WRITE), _limit(READ)
BOTH = {
    True: _limit(Bytes(to_host=(WRITE + READ).to_host)),
    False: _limit(Bytes(from_host=READ.from_host)),
}
WAYS = {True: "to host", False: "from host"}


def _rate(bench: str, config: str, traffic: Traffic, to_host: bool, limit: float, goal: float) -> Row:
    return Row(bench, config, RATE, traffic.rate(to_host=to_host), limit, goal * limit)


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
    """Both at once, in one queue."""
    work = WORKLOADS["both ways"]
    traffic = measure(work, 2 * BULK_REQUESTS, seed=seed)
    for to_host, words in WAYS.items():
        bench = f"both ways at once, {words}"
        yield _rate(bench, work.configuration.name, traffic, to_host, BOTH[to_host], 0.93)


def dma_engines(seed: int) -> Iterator[Row]:
    """Transfers of a page; nothing is random."""
    for to_host, limit in ((True, TO_HOST), (False, FROM_HOST)):
        traffic = dma.measure(reads=not to_host, writes=to_host, cycles=20_000)
        yield _rate(f"DMA engines alone, {WAYS[to_host]}", dma.NAME, traffic, to_host, limit, 0.99)
    traffic = dma.measure(reads=True, writes=True, cycles=20_000)
    for to_host, words in WAYS.items():
        rate = traffic.rate(to_host=to_host)
        yield Row(f"DMA engines alone, both ways, {words}", dma.NAME, RATE, rate, BOTH[to_host])


def random_pages(seed: int) -> Iterator[Row]:
    """Requests of a page."""
    for name, to_host, limit in (("reads", True, TO_HOST), ("writes", False, FROM_HOST)):
        work = WORKLOADS[f"random {name}"]
        cycles = PAGE / measure(work, PAGES, seed=seed).rate(to_host=to_host)
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
