"""The test list itself."""

import inspect
import re

import pytest
from cocotbext.virtio.backends.model import run
from cocotbext.virtio.suite import CaseFailure, case, cases, run_case
from cocotbext.virtio.suite.registry import MODULES, Case
from helpers.bench import model_bench

EVERY = {
    entry.name: entry
    for device in ("rng", "blk")
    for profile in ("default", "read_only", "queues")
    for entry in cases(device, profile=profile)
}
# Rows of the trap list that concern modern PCI, split rings, rng or blk without packed rings, indirect
# descriptors, event indices and queue reset.
TRAPS = {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13, 16, 17, 18, 19, 20, 21, 22, 26, 30}


def entry(run, **options) -> Case:
    values = {"devices": ("rng",), "proves": (), "traps": (), "profile": "default", "backends": ()}
    return Case(name="test.entry", run=run, **(values | options))


def test_every_trap_that_concerns_us_has_a_case():
    assert {trap for entry in EVERY.values() for trap in entry.traps} == TRAPS


def test_every_case_names_what_it_proves():
    for entry in EVERY.values():
        assert entry.proves, entry.name
        for requirement in entry.proves:
            assert re.fullmatch(r"[A-Z]+(-[A-Z]+)*-DEV-P?\d\d", requirement), (entry.name, requirement)


def test_cases_come_in_the_order_of_their_modules():
    listed = [*cases("blk"), *cases("blk", profile="queues")]
    order = [MODULES.index(entry.name.partition(".")[0]) for entry in listed]
    assert order == sorted(order)
    assert set(order) == set(range(len(MODULES))) - {MODULES.index("rng")}


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


def test_cases_that_need_raw_packets_run_only_where_they_are():
    needing = {name for name, entry in EVERY.items() if "link" in entry.needs}
    assert {name.partition(".")[0] for name in needing} == {"bus", "malformed", "dma"}
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
