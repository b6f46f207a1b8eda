"""Every case of the test list on the gateware in a shared library; on one design, with all kinds of links."""

from functools import cache

import pytest
from cocotbext.virtio.backends.native import run
from cocotbext.virtio.suite import cases, run_case
from cocotbext.virtio.variant import COVERING, PLAIN, RingVariant
from helpers.hostile import HOSTILE
from helpers.native import BLK, BLK_TRANSITIONAL, NET, NET_PAIRS, RNG, VMMCI, endpoint_library
from virtio_sim.native.bring_up import bring_up
from virtio_sim.native.library import LinkModel

NEW, OPENBSD, LINUX = ("modern", "natural"), ("legacy", "natural"), ("legacy", "bytes")
#: At 250 MHz and 128 bit: Gen3 x4 with 8 bytes for each packet, and 400 ns to the host's memory and back.
GEN3_X4 = {"bytes_per_kilocycle": 15_750, "packet_bytes": 8, "latency": 20, "memory_latency": 60}
#: None so slow that a small request takes longer than the test list waits for one.
LINKS = {
    "immediate": LinkModel(seed=1),
    "stall": LinkModel(stall=500, seed=2),
    "gen3": LinkModel(**GEN3_X4, seed=3),
    "jitter": LinkModel(memory_latency=5, jitter=80, seed=4),
    "in order": LinkModel(latency=10, memory_latency=60, shuffle=False, seed=5),
    "credits": LinkModel(latency=30, posted_credits=2, seed=6),
    "boundary 128": LinkModel(boundary=128, memory_latency=50, stall=100, seed=7),
    "slow": LinkModel(bytes_per_kilocycle=3_000, packet_bytes=20, latency=10, jitter=20, stall=700, seed=8),
}
#: The links on which hostile modules are tried.
HOSTILE_LINKS = ("stall", "gen3", "jitter")
#: What the link has to do with, for those that are only there for it.
ABOUT_DMA = ("chains", "descriptors", "split", "dma", "blk", "malformed")

#: Design, its driver's interface and habit, the link, the modules of the test list (none: all).
PLAIN_RUNS = [(BLK, NEW, link, ()) for link in ("immediate", "stall")]
PLAIN_RUNS += [(BLK, NEW, link, ABOUT_DMA) for link in list(LINKS)[2:]]
PLAIN_RUNS += [(RNG, NEW, link, ()) for link in ("gen3", "stall")]
PLAIN_RUNS += [(NET, NEW, link, ()) for link in ("gen3", "stall")]
PLAIN_RUNS += [(NET, NEW, "jitter", ("net", "dma")), (NET_PAIRS, NEW, "gen3", ())]
PLAIN_RUNS += [(BLK_TRANSITIONAL, driver, "stall", ()) for driver in (NEW, LINUX)]
PLAIN_RUNS += [(VMMCI, OPENBSD, "stall", ()), (VMMCI, LINUX, "gen3", ())]
#: And the variant of rings.
RUNS = [(*run, PLAIN) for run in PLAIN_RUNS]
RUNS += [(design, NEW, "stall", (), variant) for design in (BLK, RNG) for variant in COVERING[1:]]
RUNS += [(NET, NEW, "jitter", (), variant) for variant in COVERING[1:]]
RUNS += [(NET_PAIRS, NEW, "stall", (), variant) for variant in COVERING[1:]]
RUNS += [(BLK_TRANSITIONAL, LINUX, "stall", (), RingVariant.named("split-indirect-event"))]


def listed():
    for design, driver, link, modules, variant in RUNS:
        for entry in cases(
            design.device,
            profile=design.profile,
            backend="native",
            interface=design.interface,
            transport=driver[0],
            variant=variant,
        ):
            module = entry.name.partition(".")[0]
            if module in HOSTILE and link not in HOSTILE_LINKS:
                continue
            if not modules or module in modules:
                name = f"{design.name}-{' '.join(driver)}-{variant}-{link}-{entry.name}"
                yield pytest.param(design, driver, variant, link, entry, id=name)


@cache
def bench_of(design, driver, variant, link):
    """One for all cases of a run, which follow each other as on a device that is never switched off."""
    transport, habit = driver
    library = endpoint_library(design)
    bench, host = run(bring_up(library, design, link=LINKS[link], seed=1, transport=transport, habit=habit))
    bench.variant = variant
    return bench, host


@pytest.mark.parametrize(("design", "driver", "variant", "link", "entry"), list(listed()))
def test_the_gateware_passes(design, driver, variant, link, entry):
    bench, host = bench_of(design, driver, variant, link)
    seen = len(host.checker.findings)
    try:
        run(run_case(entry, bench))
    except Exception as error:
        error.add_note("\n".join(host.trace.lines()))
        raise
    host.checker.finish()
    assert host.checker.findings[seen:] == []


IN_ORDER = RingVariant.named("split-indirect-event-order")
OUT_OF_ORDER = [
    entry
    for entry in cases("rng", backend="native", variant=IN_ORDER)
    if entry.name.endswith("not_in_order_although_that_was_promised")
]


@pytest.mark.parametrize("entry", OUT_OF_ORDER, ids=lambda entry: entry.name)
def test_a_source_of_noise_that_was_just_switched_on_is_waited_for(entry):
    bench, _ = run(bring_up(endpoint_library(RNG), RNG, link=LINKS["stall"], seed=1))
    bench.variant = IN_ORDER
    run(run_case(entry, bench))
