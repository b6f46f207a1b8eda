"""Runs on the backends; what the cases themselves find is tested elsewhere."""

from pathlib import Path

import pytest
from cocotbext.virtio.conformance import Facts
from cocotbext.virtio.suite.registry import Case
from virtio_sim.conformance import backends
from virtio_sim.conformance.backends import DeviceUnknown, execute
from virtio_sim.conformance.plan import plan
from virtio_sim.runner import Outcome
from virtio_spec.virtio import DeviceType
from virtio_spec.virtio_pci import Interface


def case(name, run):
    return Case(f"made_up.{name}", run, ("rng",), ("ENT-DEV-01",), (), "default", ())


async def fine(bench):
    await bench.start()


async def wrong(bench):
    device = await bench.start()
    bench.variant = None  # whoever comes next must not see it
    if await device.transport.status():
        raise AssertionError("the device is alive")


async def last(bench):
    assert bench.variant.name in ("split", "packed-event")


CASES = [case("fine", fine), case("wrong", wrong), case("last", last)]


def planned(monkeypatch, backend, *, device="rng", interface="modern"):
    monkeypatch.setattr("virtio_sim.conformance.plan.cases", lambda *_, **__: CASES)
    (run, *_) = plan(backend, device=device, interface=interface, variants_named=("split", "packed-event"))
    return run


@pytest.mark.parametrize("backend", ["model", "native"])
def test_after_a_failure_the_next_case_has_a_device_of_its_own(monkeypatch, backend):
    found = []
    facts = execute(planned(monkeypatch, backend), seed=3, listener=found.append)
    assert [(result.case, result.driver, result.passed) for result in found] == [
        (f"made_up.{name}", f"modern natural {rings}", name != "wrong")
        for rings in ("split", "packed-event")
        for name in ("fine", "wrong", "last")
    ]
    assert found[1].message == "AssertionError: the device is alive"
    directions = {">", "<"} if backend == "native" else {">"}  # an answer of the model is no event
    assert {event.mark for event in found[1].trace} == directions
    assert not found[0].trace and not found[2].trace
    assert (facts.device_type, facts.interface) == (DeviceType.ENTROPY, Interface.MODERN)
    assert facts.queues == 1 and facts.offers("RING_PACKED")


def test_a_simulation_that_ends_early_fails_the_cases_it_did_not_reach(monkeypatch, tmp_path):
    said = {"device_type": 4, "interface": "modern", "features": 1 << 32, "queues": 1, "vectors": 2}
    events = (
        {"name": "facts", **said, "structures": [1, 2, 3, 5]},
        {"name": "made_up.fine", "message": "", "wall_s": 0.5},
        {"name": "made_up.wrong", "message": "AssertionError: no", "wall_s": 0.25},
    )
    asked = []

    def simulate(executable, module, *, arguments, on_event, **_):
        asked.append((executable, module, arguments["variant"], arguments["seed"]))
        for event in events:
            on_event(event)
        return Outcome(tmp_path, tmp_path / "log", {"simulator": "killed after 9 s"}, events, 9.0, "sh x")

    monkeypatch.setattr(backends, "simulate", simulate)
    monkeypatch.setattr(backends, "simulator", lambda verilog, *, name: Path(name))
    monkeypatch.setattr(backends, "generate", lambda configuration: "")
    found = []
    run = planned(monkeypatch, "cocotb")
    facts = execute(run, seed=7, listener=found.append)
    name = Path(run.configuration.name)
    assert asked == [(name, "virtio_sim.suite_bench", rings, 7) for rings in ("split", "packed-event")]
    assert [(result.case, result.message) for result in found[:3]] == [
        ("made_up.fine", ""),
        ("made_up.wrong", "AssertionError: no"),
        ("made_up.last", "did not run: simulator: killed after 9 s"),
    ]
    assert len(found) == 6
    assert facts == Facts(DeviceType.ENTROPY, Interface.MODERN, 1 << 32, 1, 2, (1, 2, 3, 5))


def test_a_simulation_that_says_nothing_is_an_error(monkeypatch, tmp_path):
    nothing = Outcome(tmp_path, tmp_path / "log", {}, (), 0.0, "sh x")
    monkeypatch.setattr(backends, "simulate", lambda *_, **__: nothing)
    monkeypatch.setattr(backends, "simulator", lambda verilog, *, name: Path(name))
    monkeypatch.setattr(backends, "generate", lambda configuration: "")
    found = []
    with pytest.raises(
        DeviceUnknown,
        match="^nothing could be found out about the device of cocotb rng-64 modern: see .*log$",
    ):
        execute(planned(monkeypatch, "cocotb"), seed=1, listener=found.append)
    assert {result.message for result in found} == {f"did not run: see {tmp_path / 'log'}"}
