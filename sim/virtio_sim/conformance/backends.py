"""Runs of the test list, one function per backend; each says what it found as it finds it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cocotbext.virtio.backends.model_bench import model_bench
from cocotbext.virtio.backends.native import NativeHost
from cocotbext.virtio.backends.qtest import QtestHost
from cocotbext.virtio.backends.qtest_bench import qtest_bench
from cocotbext.virtio.backends.qtest_machine import Program
from cocotbext.virtio.backends.run import run as wait_for
from cocotbext.virtio.conformance import Facts, look
from cocotbext.virtio.conformance.deviations import Known, deviations
from cocotbext.virtio.suite import Bench, Case
from cocotbext.virtio.trace import Event
from virtio_spec.virtio_pci import Interface

from ..build import TOPLEVEL, build_root, native_library, simulator
from ..guest.artifacts import artifacts
from ..hdl import generate
from ..native.bring_up import bring_up
from ..native.library import LinkModel
from ..runner import Outcome
from ..runner import run as simulate
from ..suite_bench import FACTS
from .one import Listener, result_of, run_one
from .plan import Driver, Run

__all__ = ["DeviceUnknown", "execute", "on_simulator", "told_facts", "why"]


class DeviceUnknown(Exception):
    """A simulation did not get as far as to say what its device is; the message is for the user."""


#: Thousandths of all cycles in which a stream of the link pauses.
STALL = 500
#: Of a simulation: of its whole test list, in real time.
DEADLINE_S = 1_800


def execute(run: Run, *, seed: int, listener: Listener) -> Facts:
    """All that ``run`` has, and what the device says of itself."""
    return _EXECUTE[run.backend](run, seed, listener)


def _on_model(run: Run, seed: int, listener: Listener) -> Facts:
    for driver in run.drivers():
        bench = _model(run, driver, seed)
        for case in run.cases(driver):
            result = run_one(case, driver, bench)
            listener(result)
            if not result.passed:
                bench = _model(run, driver, seed)
    return wait_for(look(_model(run, run.drivers()[0], seed)))


def _model(run: Run, driver: Driver, seed: int) -> Bench:
    configuration = run.configuration
    settings = _settings(run, driver, seed)
    return model_bench(configuration.device, queue_size=configuration.queue_size, **settings)


def _settings(run: Run, driver: Driver, seed: int) -> dict[str, Any]:
    """Of a bench whose device is no gateware."""
    return {
        "seed": seed,
        "read_only": run.configuration.read_only,
        "queues": run.configuration.virtqueues,
        "interface": Interface(run.configuration.interface),
        "transport": driver.transport,
        "habit": driver.habit,
        "variant": driver.variant,
    }


def _on_native(run: Run, seed: int, listener: Listener) -> Facts:
    library = native_library(generate(run.configuration), run.configuration)
    for driver in run.drivers():
        bench, host = _native(run, library, driver, seed)
        for case in run.cases(driver):
            result = run_one(case, driver, bench, host)
            listener(result)
            if not result.passed:  # the next case is not to suffer from it
                bench, host = _native(run, library, driver, seed)
    return wait_for(look(_native(run, library, run.drivers()[0], seed)[0]))


def _native(run: Run, library: Path, driver: Driver, seed: int) -> tuple[Bench, NativeHost]:
    link = LinkModel(stall=STALL, seed=seed)
    up = bring_up(
        library, run.configuration, link=link, seed=seed, transport=driver.transport, habit=driver.habit
    )
    bench, host = wait_for(up)
    bench.variant = driver.variant
    return bench, host


def _on_qtest(run: Run, seed: int, listener: Listener) -> Facts:
    prefix = artifacts(()).prefix
    program = Program(prefix.qemu(), prefix.environment)
    facts: Facts | None = None
    known = Known(run.configuration.device, run.configuration.interface, deviations())
    for driver in run.drivers():
        bench, host = _qtest(run, program, driver, seed)
        facts = facts or wait_for(look(bench))
        for case in run.cases(driver):
            result = known.judge(run_one(case, driver, bench))
            listener(result)
            if result.message:
                host.close()
                bench, host = _qtest(run, program, driver, seed)
        host.close()
    for result in () if run.variants else known.stale():  # some cases of a row did not run
        listener(result)
    assert facts is not None
    return facts


def _qtest(run: Run, program: Program, driver: Driver, seed: int) -> tuple[Bench, QtestHost]:
    return qtest_bench(run.configuration.device, program, **_settings(run, driver, seed))


def _on_cocotb(run: Run, seed: int, listener: Listener) -> Facts:
    configuration = run.configuration
    executable = simulator(generate(configuration), name=configuration.name)
    arguments = {"configuration": configuration.as_dict(), "seed": seed}
    outcomes = [
        on_simulator(run.name, driver, run.cases(driver), executable, arguments, listener)
        for driver in run.drivers()
    ]
    return told_facts(run.name, outcomes[0])


def on_simulator(
    name: str,
    driver: Driver,
    cases: Sequence[Case],
    executable: Path,
    arguments: Mapping[str, Any],
    listener: Listener,
    *,
    top: str = TOPLEVEL,
) -> Outcome:
    """Run ``cases`` with one driver; those that the simulation did not reach have failed."""
    waiting = {case.name: case for case in cases}

    def hear(event: Mapping[str, Any]) -> None:
        if case := waiting.pop(event["name"], None):
            trace = tuple(Event(*line) for line in event.get("trace", ()))
            listener(result_of(case, driver, event["message"], event["wall_s"], trace))

    outcome = simulate(
        executable,
        "virtio_sim.suite_bench",
        directory=build_root() / "conformance" / name.replace(" ", "-") / str(driver).replace(" ", "-"),
        arguments={
            **arguments,
            "stall": STALL / 1000,
            "transport": driver.transport,
            "habit": driver.habit,
            "variant": driver.variant.name,
        },
        deadline_s=DEADLINE_S,
        top=top,
        on_event=hear,
    )
    for case in waiting.values():
        listener(result_of(case, driver, f"did not run: {why(outcome)}"))
    return outcome


def told_facts(name: str, outcome: Outcome) -> Facts:
    """What a device said of itself in a simulation; :class:`DeviceUnknown`."""
    for event in outcome.events:
        if event["name"] == FACTS:
            return Facts.from_dict({key: value for key, value in event.items() if key != "name"})
    raise DeviceUnknown(f"nothing could be found out about the device of {name}: {why(outcome)}")


def why(outcome: Outcome) -> str:
    """What went wrong in a simulation."""
    return "; ".join(f"{name}: {what}" for name, what in outcome.failures.items()) or f"see {outcome.log}"


_EXECUTE: dict[str, Callable[[Run, int, Listener], Facts]] = {
    "model": _on_model,
    "native": _on_native,
    "cocotb": _on_cocotb,
    "qtest": _on_qtest,
}
