from dataclasses import replace
from pathlib import Path

import pytest
from virtio_sim.guest import run
from virtio_sim.guest.artifacts import Artifacts, Kernel, Prefix
from virtio_sim.guest.checks import Check, CheckFailed, Row
from virtio_sim.guest.console import Answer, ConsoleError
from virtio_sim.guest.devices import Device, DeviceError, QemuProvider
from virtio_sim.guest.run import Rig, rows_of

KERNEL = Kernel("6.1", "6.1.0", "6.1.1", Path("/nowhere"))


class Provider:
    """Notes in which order it is called."""

    name, arguments = "fake", ()

    def __init__(self, calls, stop=None):
        self.calls, self._stop = calls, stop

    def offers(self, device):
        return device.kind == "rng"

    def start(self, device, *, image, directory):
        self.calls.append("start")

    def qemu_arguments(self, bus):
        return ["-device", f"x,bus={bus}"]

    def stop(self):
        self.calls.append("stop")
        if self._stop:
            raise DeviceError(self._stop)


class Guest:
    """A boot without QEMU; ``answers`` by script, an exception to be raised or an answer."""

    answers: dict = {}
    log = ""
    root = "initramfs"
    platform: list = []
    arguments: tuple = ()
    extra: list = []

    def __init__(self, prefix, kernel, initrd, *, directory, append, device, platform, extra, cpus):
        self.console = self
        self.calls = Guest.calls
        self.kernel_log = Guest.log
        Guest.platform, Guest.extra, Guest.cpus = list(platform), list(extra), cpus

    def __enter__(self):
        self.calls.append("boot")
        return self

    def __exit__(self, *_):
        self.calls.append("gone")

    def up(self, deadline):
        return {"root": self.root}, 1.25

    def run(self, script, *arguments, deadline):
        self.calls.append(script)
        Guest.arguments = arguments
        answer = self.answers.get(script, Answer(status=0))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def last_words(self):
        return "last words of nobody"

    def off(self):
        self.calls.append("off")


@pytest.fixture
def boot(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "Guest", Guest)
    monkeypatch.setattr(run, "initramfs", lambda *_: b"")
    monkeypatch.setattr(run, "load_program", lambda directory: b"")

    def make(*checks, answers=None, log="", root="initramfs", stop=None, peer=False):
        calls, said = [], []
        Guest.calls, Guest.answers, Guest.log, Guest.root = calls, answers or {}, log, root
        artifacts = Artifacts(Prefix(tmp_path), tmp_path / "busybox", {"6.1": KERNEL}, {})
        rig = Rig(artifacts, Provider(calls, stop), tmp_path / "guest", say=said.append)
        return rig.boot(KERNEL, Row(Device("rng"), checks, peer=peer)), calls, said

    return make


def outcome(results):
    return {result.check: (result.status, result.message) for result in results}


def test_a_boot_runs_its_checks_in_order_and_those_outside_when_the_device_is_gone(boot):
    def outside(context):
        calls.append("outside")
        return {"files": 3}

    calls = []
    checks = (Check("later", outside=outside), Check("one", "first"), Check("two", "second"))
    results, order, said = boot(*checks)
    assert order == ["start", "boot", "first", "second", "off", "gone", "stop"]
    assert calls == ["outside"]
    assert [result.check for result in results] == ["boot", "one", "two", "switch off", "later"]
    assert {result.status for result in results} == {"passed"}
    assert results[0].figures == {"boot_s": 1.25} and results[-1].figures == {"files": 3}
    assert (results[0].kernel, results[0].provider, results[0].device) == ("6.1", "fake", "rng")
    assert any("passed" in line and "one" in line for line in said)


def test_a_check_that_fails_does_not_stop_the_others(boot):
    def judge(context, answer):
        raise CheckFailed("the capacity is 7, not 8")

    answers = {"second": Answer(status=1, failures=["no disk"]), "third": Answer(status=2, said=["sh: oops"])}
    checks = (Check("one", "first", judge=judge), Check("two", "second"), Check("three", "third"))
    results, _, _ = boot(*checks, Check("four", "fourth"), answers=answers)
    assert outcome(results)["one"] == ("failed", "the capacity is 7, not 8")
    assert outcome(results)["two"] == ("failed", "second.sh ended with 1: no disk")
    assert outcome(results)["three"] == ("failed", "third.sh ended with 2: sh: oops")
    assert outcome(results)["four"] == outcome(results)["switch off"] == ("passed", "")


def test_what_a_script_forgot_to_tell_is_named(boot):
    results, _, _ = boot(Check("one", "first", judge=lambda context, answer: {"x": answer.facts["sectors"]}))
    assert outcome(results)["one"] == ("failed", "first.sh did not tell 'sectors'")


def test_when_the_guest_is_lost_everything_after_it_has_failed(boot):
    checks = (Check("one", "first"), Check("two", "second"), Check("after", outside=lambda context: {}))
    results, order, _ = boot(*checks, answers={"first": ConsoleError("the guest was gone")})
    assert outcome(results)["one"] == ("failed", "the guest was gone; last words of nobody")
    for name in ("two", "switch off", "after"):
        assert outcome(results)[name] == ("failed", "not reached, the guest was lost")
    assert order == ["start", "boot", "first", "gone", "stop"]


def test_a_guest_on_the_wrong_root_is_not_asked_anything(boot):
    results, order, _ = boot(Check("one", "first"), root="root")
    assert outcome(results)["boot"] == ("failed", "the root file system is on root")
    assert outcome(results)["one"][0] == "failed" and "first" not in order


def test_a_server_that_ends_badly_fails_the_boot(boot):
    results, _, _ = boot(Check("one", "first"), stop="the device's server ended with 1: assertion")
    assert outcome(results)["one"] == ("passed", "")
    assert outcome(results)["guest"] == ("failed", "the device's server ended with 1: assertion")


def test_a_complaint_of_the_kernel_fails_unless_a_check_expects_it(boot):
    log = "[ 3.1] I/O error, dev vda, sector 8\n"
    results, _, _ = boot(Check("one", "first"), log=log)
    assert outcome(results)["switch off"] == (
        "failed",
        "the kernel complained 1 times, first: [ 3.1] I/O error, dev vda, sector 8",
    )
    results, _, _ = boot(Check("one", "first", noise="I/O error, dev vda"), log=log)
    assert outcome(results)["switch off"] == ("passed", "")


def test_a_peer_stands_behind_a_port_of_its_own_and_its_results_are_qemus(boot):
    def judge(context, answer):
        return {"random1_requests_per_s": 7.0}

    boot(Check("one", "first"))
    assert "virtio-rng-pci" not in " ".join(Guest.extra)
    results, _, said = boot(Check("one", "first"), Check("one", "second", judge=judge, peer=True), peer=True)
    line = " ".join(Guest.extra)
    assert line.index("pcie-root-port,id=port1,chassis=2") < line.index(
        "virtio-rng-pci,rng=noise-port1,bus=port1"
    )
    found = {result.provider: result for result in results if result.check == "one"}
    assert set(found) == {"fake", "qemu"}
    assert found["qemu"].figures == {"random1_requests_per_s": 7.0} and not found["fake"].figures
    assert any("one of qemu's" in line for line in said)


def test_what_was_not_reached_of_a_peer_has_failed_as_qemus(boot):
    checks = (Check("one", "first"), Check("two", "second", peer=True))
    results, _, _ = boot(*checks, peer=True, answers={"first": ConsoleError("the guest was gone")})
    (lost,) = [result for result in results if result.provider == "qemu"]
    assert (lost.check, lost.status) == ("two", "failed")


def test_a_row_with_an_iommu_boots_where_it_is_meant_to_with_the_kit_in_it(boot, tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(run, "initramfs", lambda *_, **more: given.update(more) or b"")
    monkeypatch.setattr(run, "interpreter", lambda python, directory: {"usr/bin/python3": python.path.name})
    boot()
    assert Guest.platform == [] and given == {}
    artifacts = Artifacts(Prefix(tmp_path), tmp_path, {"6.1": KERNEL}, {}, Prefix(tmp_path / "python"))
    rig = Rig(artifacts, Provider([]), tmp_path / "guest", say=lambda line: None)
    row = Row(Device("rng", iommu=True), (Check("kit", "vfio", ("a",), more=lambda context: ("b",)),))
    assert row.name == "rng vfio" and row.append == "intel_iommu=on no_timer_check"
    assert {result.status for result in rig.run([row])} == {"passed"}
    assert "intel-iommu" in Guest.platform[1] and Guest.arguments == ("a", "b")
    assert given == {"modules": run.VFIO, "files": {"usr/bin/python3": "python"}}
    assert rig.run([replace(row, kernels=("6.12",))]) == []


def test_qemus_devices_are_not_compared_with_themselves(tmp_path):
    assert "blk root compared" not in {row.name for row in rows_of(QemuProvider())}
    assert "blk root" in {row.name for row in rows_of(QemuProvider())}


def test_rows_are_chosen_by_words_and_by_what_the_provider_has(tmp_path):
    artifacts = Artifacts(Prefix(tmp_path), tmp_path, {}, {})
    rig = Rig(artifacts, Provider([]), tmp_path)
    assert {row.device.kind for row in rows_of(rig.provider)} == {"rng"}
    assert [row.name for row in rows_of(rig.provider, "intx legacy")] == [
        "rng transitional forced legacy intx"
    ]
    assert rows_of(rig.provider, "blk") == []
