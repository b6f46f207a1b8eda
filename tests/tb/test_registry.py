"""The test list itself."""

import inspect
import re

import pytest
from cocotbext.virtio.backends.model import run
from cocotbext.virtio.backends.model_bench import model_bench
from cocotbext.virtio.suite import CaseFailure, case, cases, run_case
from cocotbext.virtio.suite.registry import EVERY_DEVICE, MODULES, Case
from cocotbext.virtio.variant import PLAIN, variants
from virtio_spec.virtio import Feature
from virtio_spec.virtio_pci import Interface

EVERY = {
    entry.name: entry
    for device in EVERY_DEVICE
    for profile in ("default", "read_only", "queues")
    for entry in cases(device, profile=profile, variant=None)
}
#: Rows of the trap list.
TRAPS = set(range(1, 31))

#: The rows on the legacy interface of the requirements list that concern devices, PCI, split rings, rng, blk.
LEGACY_ROWS = [
    *(f"INIT-LEG-DEV-{n:02}" for n in (1, 2)),
    *(f"FEAT-LEG-DEV-{n:02}" for n in (1, 2, 3)),
    *(f"RFB-LEG-DEV-{n:02}" for n in (1, 2, 3, 4)),
    *(f"SPLIT-LEG-DEV-{n:02}" for n in (1, 2)),
    *(f"PCI-ID-DEV-{n:02}" for n in (2, 4, 6, 7, 8)),
    *(f"PCI-LEG-DEV-{n:02}" for n in range(1, 12)),
    *(f"PCI-LEG-DEV-P{n:02}" for n in range(1, 7)),
    *(f"BLK-LEG-DEV-{n:02}" for n in range(1, 9)),
    "BLK-DEV-06",
]
#: Those without a case, and why there is none.
LITTLE = "the guest's byte order is little-endian by declaration: a device in an FPGA cannot find it out"
UNKNOWN = "concerns modern devices of which a buggy legacy driver is known; there is none for these"
NO_BARRIER = "BARRIER is not offered"
NOT_PROVEN = {
    "RFB-LEG-DEV-02": "NOTIFY_ON_EMPTY is not offered",
    "SPLIT-LEG-DEV-02": LITTLE,
    "PCI-LEG-DEV-08": UNKNOWN,
    "PCI-LEG-DEV-09": UNKNOWN,
    "PCI-LEG-DEV-10": UNKNOWN,
    "PCI-LEG-DEV-P06": LITTLE,
    "BLK-LEG-DEV-01": LITTLE,
    "BLK-LEG-DEV-05": LITTLE,
    "BLK-LEG-DEV-07": NO_BARRIER,
    "BLK-LEG-DEV-08": NO_BARRIER,
}


#: The rows on rings, kicks and queue resets that a device has to comply with.
MAY = {"SPLIT-DEV": (2, 5, 17, 19), "PACKED-DEV": (3, 9)}
RING_ROWS = [
    *(f"SPLIT-DEV-{n:02}" for n in range(1, 25) if n not in MAY["SPLIT-DEV"]),
    *(f"SPLIT-DEV-P{n:02}" for n in range(1, 6)),
    *(f"PACKED-DEV-{n:02}" for n in range(1, 12) if n not in MAY["PACKED-DEV"]),
    *(f"PACKED-DEV-P{n:02}" for n in range(1, 12)),
    *(f"QRST-DEV-{n:02}" for n in (1, 2, 3)),
    *(f"PCI-NTF-DEV-{n:02}" for n in range(1, 12)),
    *(f"PCI-CC-DEV-{n:02}" for n in range(7, 16)),
    "RFB-DEV-05",
]

#: The rows on network devices that one with the features of ours has to comply with, or should.
NET_ROWS = [
    *(f"NET-DEV-{n:03}" for n in (2, 3, 4, 5, 6, 7, 11, 12, 13, 16, 17, 22, 29, 31, 32, *range(36, 43))),
    *(f"NET-DEV-{n:03}" for n in (65, 68, 86, 87, 88, 89, 99, 100, 101, 102, 103, 109, 110)),
    *(f"NET-DEV-{n:03}" for n in (112, 113, 114, 115)),
    "NET-DEV-P02",
]

BARRIER = 0  # VIRTIO_BLK_F_BARRIER, of legacy devices only


def entry(run, **options) -> Case:
    values = {"devices": ("rng",), "proves": (), "traps": (), "profile": "default", "backends": ()}
    return Case(name="test.entry", run=run, **(values | options))


def test_every_trap_that_concerns_us_has_a_case():
    assert {trap for entry in EVERY.values() for trap in entry.traps} == TRAPS


def test_every_legacy_row_has_a_case_or_a_reason():
    proven = {row for entry in EVERY.values() if "legacy" in entry.transports for row in entry.proves}
    proven |= {row for entry in EVERY.values() for row in entry.proves if row.startswith("PCI-ID")}
    assert len(LEGACY_ROWS) == len(set(LEGACY_ROWS)) == 42
    assert {row for row in LEGACY_ROWS if row not in proven} == set(NOT_PROVEN)


def test_every_row_on_rings_has_a_case():
    proven = {row for entry in EVERY.values() for row in entry.proves}
    assert len(RING_ROWS) == len(set(RING_ROWS))
    assert {row for row in RING_ROWS if row not in proven} == set()


def test_every_row_on_network_devices_has_a_case():
    proven = {row for entry in EVERY.values() if "net" in entry.devices for row in entry.proves}
    assert {row for row in NET_ROWS if row not in proven} == set()


def test_a_case_is_for_the_variants_that_it_names():
    entries = cases("rng", variant=None)
    for variant in variants():
        assert cases("rng", variant=variant) == [entry for entry in entries if entry.variants(variant)]
    names = {variant: {entry.name for entry in cases("rng", variant=variant)} for variant in variants()}
    everywhere = set.intersection(*names.values())
    assert "chains.one_kick_announces_many" in everywhere
    assert {name.partition(".")[0] for name in everywhere}.isdisjoint({"pci", "msix", "split", "packed"})
    assert (
        names[PLAIN] == {entry.name for entry in cases("rng")} > {"pci.the_window_reads_and_writes_the_bar"}
    )
    both = "events.the_flag_for_no_interrupts_means_nothing_with_an_event_index"
    assert [v.event_idx and not v.packed for v in variants()] == [both in names[v] for v in variants()]


def test_features_without_which_a_row_is_void_are_not_offered():
    """What some of the reasons rest on."""
    for device, feature in (
        ("rng", Feature.NOTIFY_ON_EMPTY),
        ("blk", Feature.NOTIFY_ON_EMPTY),
        ("blk", BARRIER),
    ):
        bench = model_bench(device, seed=1, interface=Interface.LEGACY)
        assert not run(run(bench.probe()).transport.offered_features()) >> feature & 1


def test_every_case_names_what_it_proves():
    for entry in EVERY.values():
        assert entry.proves, entry.name
        for requirement in entry.proves:
            assert re.fullmatch(r"[A-Z]+(-[A-Z]+)*-DEV-P?\d\d\d?", requirement), (entry.name, requirement)


def test_cases_come_in_the_order_of_their_modules():
    modules, seen = list(MODULES), []
    for profile in ("default", "queues"):
        listed = cases("blk", profile=profile, variant=None)
        order = [modules.index(entry.name.partition(".")[0]) for entry in listed]
        assert order == sorted(order)
        seen += order
    assert set(seen) == set(range(len(modules))) - {modules.index(name) for name in ("rng", "net", "vmmci")}


def test_cases_are_coroutine_functions():
    assert all(inspect.iscoroutinefunction(entry.run) for entry in EVERY.values())


def test_two_cases_of_one_name_are_refused():
    async def the_function_says_what_it_is(bench):
        raise NotImplementedError

    the_function_says_what_it_is.__module__ = "cocotbext.virtio.suite.pci"
    with pytest.raises(ValueError, match="there are two cases 'pci.the_function_says_what_it_is'"):
        case()(the_function_says_what_it_is)


def test_a_backend_gets_only_its_cases():
    for_model = {entry.name for entry in cases("rng", backend="model")}
    assert for_model <= {entry.name for entry in cases("rng")}


def test_a_driver_gets_only_the_cases_of_its_interface():
    for interface in Interface:
        for transport in ("modern", "legacy"):
            listed = cases("blk", interface=interface, transport=transport)
            assert all(transport in entry.transports and interface in entry.interfaces for entry in listed)
    (only_new,) = [entry for entry in cases("blk") if entry.name == "pci.every_structure_has_its_capability"]
    (only_old,) = [entry for entry in cases("blk") if entry.name == "legacy.there_is_no_features_ok"]
    (both,) = [entry for entry in cases("blk") if entry.name == "blk.random_work_agrees_with_the_disk"]
    assert (only_new.transports, only_old.transports) == (("modern",), ("legacy",))
    assert both.transports == ("modern", "legacy")


def test_most_cases_for_queues_run_through_both_interfaces():
    for module in ("chains", "descriptors", "split", "dma", "msix", "intx", "rng", "blk", "malformed"):
        entries = [entry for entry in EVERY.values() if entry.name.startswith(f"{module}.")]
        both = [entry for entry in entries if len(entry.transports) == 2]
        assert len(both) >= 0.85 * len(entries), module


def test_cases_that_need_raw_packets_run_only_where_they_are():
    needing = {name for name, entry in EVERY.items() if "link" in entry.needs}
    assert {name.partition(".")[0] for name in needing} == {"bus", "malformed", "dma", "outages"}
    for device in ("rng", "blk"):
        assert not needing & {entry.name for entry in cases(device, backend="model")}
        assert needing & {entry.name for entry in cases(device, backend="cocotb")}


def test_a_violation_fails_a_case_that_ran_through():
    async def careless(bench):
        bench.host.memory.check(0x4000, 4, write=True)

    bench = model_bench("rng", seed=1)
    with pytest.raises(CaseFailure, match="device wrote 4 bytes at 0x4000, which the driver did not expose"):
        run(run_case(entry(careless), bench))
    assert bench.host.memory.violations == []


def test_a_finding_fails_a_case_and_only_that_one():
    class Checker:
        findings: list[str] = ["something old"]

    async def noticed(bench):
        Checker.findings.append("the tag is in use")

    async def fine(bench):
        await bench.start()

    bench = model_bench("rng", seed=1)
    bench.checkers.append(Checker())
    with pytest.raises(CaseFailure, match="^the tag is in use$"):
        run(run_case(entry(noticed), bench))
    run(run_case(entry(fine), bench))


def test_random_numbers_depend_on_seed_and_case_only():
    drawn = []

    async def draw(bench):
        drawn.append(bench.rng.random())

    for before in (0, 3):
        bench = model_bench("rng", seed=5)
        for _ in range(before):
            bench.rng.random()
        run(run_case(entry(draw), bench))
    run(run_case(entry(draw), model_bench("rng", seed=6)))
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_case_starts_from_a_reset_whatever_came_before():
    async def leave_it_broken(bench):
        device = await bench.start()
        bench.disk.fail(0)
        bench.disk.flush_fails = True
        bench.entropy.stick(0)
        device.queues[0].publish(1234)
        await device.kick()
        await bench.host.sleep(5000)
        raise RuntimeError("enough")

    async def look(bench):
        assert (await (await bench.probe()).transport.status(), bench.host.memory.grants) == (0, [])
        assert not bench.disk.flush_fails
        bench.disk.read(0, 1)

    bench = model_bench("blk", seed=1)
    with pytest.raises(RuntimeError, match="enough"):
        run(run_case(entry(leave_it_broken), bench))
    run(run_case(entry(look), bench))
