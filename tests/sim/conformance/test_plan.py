"""What is run for a report."""

import pytest
from cocotbext.virtio.suite import cases
from cocotbext.virtio.variant import RingVariant
from virtio_sim.config import INTERFACES, ConfigError
from virtio_sim.conformance.plan import BACKENDS, plan

PROFILES = ("default", "read_only", "queues")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("device", ["rng", "blk", "net", "vmmci"])
def test_every_case_is_run_somewhere(backend, device):
    if (backend, device) == ("qtest", "vmmci"):
        with pytest.raises(ConfigError, match="QEMU has no vmmci"):
            plan(backend, device=device)
        return
    planned = {
        case.name
        for run in plan(backend, device=device)
        for driver in run.drivers()
        for case in run.cases(driver)
    }
    listed = [
        cases(
            device, profile=profile, backend=backend, interface=interface, transport=transport, variant=None
        )
        for profile in PROFILES
        for interface in INTERFACES[device]
        for transport in ("modern", "legacy")
        if interface in (transport, "transitional")
    ]
    assert planned == {case.name for some in listed for case in some}


def test_names_are_unique_and_say_what_is_run():
    names = [run.name for backend in BACKENDS for run in plan(backend)]
    assert len(names) == len(set(names))
    assert {"model blk modern read_only", "native rng-64 transitional", "cocotb blk-128 modern queues"} < {
        *names
    }
    assert "native vmmci-64 legacy" in names


def test_a_transitional_device_has_drivers_of_both_kinds():
    (run,) = [run for run in plan("model", device="rng") if run.name == "model rng transitional"]
    assert {driver.transport for driver in run.drivers()} == {"modern", "legacy"}
    assert {driver.variant.packed for driver in run.drivers() if driver.transport == "legacy"} == {False}


def test_what_is_named_is_all_that_is_run():
    runs = plan("native", device="blk", interface="modern", variants_named=["packed-event", "split"])
    assert [run.name for run in runs] == [
        "native blk-128 modern",
        "native blk-128 modern read_only",
        "native blk-128 modern queues",
    ]
    for run in runs:
        assert [driver.variant for driver in run.drivers()] == [
            RingVariant.named("split"),
            RingVariant.named("packed-event"),
        ]


def test_devices_without_the_interface_are_left_out_unless_they_were_named():
    assert {run.configuration.device for run in plan("model", interface="modern")} == {
        "rng",
        "blk",
        "net",
    }
    with pytest.raises(ConfigError, match="^vmmci can only be legacy, not modern$"):
        plan("model", device="vmmci", interface="modern")


def test_a_choice_of_nothing_is_an_error():
    with pytest.raises(ConfigError, match="^there is no such device with such an interface and such rings$"):
        plan("model", device="rng", interface="legacy", variants_named=["packed"])


def test_network_devices_of_qemu_have_one_pair_of_queues():
    assert [run.name for run in plan("qtest", device="net")] == ["qtest net modern"]


def test_devices_of_qemu_are_examples_of_their_own():
    assert {run.device for run in plan("qtest", device="blk")} == {"QEMU blk"}
