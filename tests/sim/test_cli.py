import pytest
from helpers.command import call
from virtio_sim import fat
from virtio_sim.build import BuildError
from virtio_sim.config import Configuration
from virtio_sim.report import TestResult
from virtio_spec.virtio_pci import Interface

WRONG = {
    "device": (["sim", "--device", "disk"], "there is no device 'disk'"),
    "width": (["hdl", "--width", "96"], "the width has to be 64, 128 or 256 bits, not 96"),
    "width as text": (["sim", "--width", "wide"], "'--width'"),
    "empty queue": (["sim", "--queue-size", "0"], "the queue size has to be a power of two"),
    "tags": (["hdl", "--tags", "0"], "the number of tags has to be from 1 to 204, not 0"),
    "no queues": (["sim", "--queues", "0"], "the number of queues has to be from 1 to 256, not 0"),
    "many queues": (["hdl", "--queues", "257"], "the number of queues has to be from 1 to 256, not 257"),
    "queues of rng": (["hdl", "-d", "rng", "--queues", "2"], "only blk and net can have several queues"),
    "seed": (["sim", "--seed=-1"], "the seed has to be from 0"),
    "missing image": (["sim", "--image", "no such file"], "there is no image no such file"),
    "image for rng": (["sim", "--device", "rng", "--image", "x"], "an image is for blk, and rng alone"),
    "image for vmmci": (["sim", "-d", "vmmci", "--image", "x"], "an image is for blk, and vmmci alone"),
    "many pairs": (["hdl", "-d", "net", "--queues", "128"], "the number of pairs of queues has to be from 1"),
    "interface of net": (["hdl", "-d", "net", "-i", "legacy"], "net can only be modern, not legacy"),
    "interface": (["hdl", "--interface", "old"], "there is no interface 'old'"),
    "interface of vmmci": (["sim", "-d", "vmmci", "-i", "modern"], "vmmci can only be legacy, not modern"),
    "queues of vmmci": (
        ["hdl", "-d", "vmmci", "--queues", "2"],
        "only blk and net can have several queues, not vmmci",
    ),
    "RAM of vmmci": (["hdl", "-d", "vmmci", "--ram-sectors", "8"], "only blk can have a disk in block RAM"),
    "queue size of vmmci": (["sim", "-d", "vmmci", "--queue-size", "8"], "vmmci has no virtqueues"),
    "nothing to lint": (["lint", "-d", "vmmci", "-i", "modern"], "there is no such device with such an"),
    "cosim of nothing": (["cosim"], "'--device'"),
    "cosim without image": (["cosim", "-d", "blk"], "blk needs an image"),
    "cosim's missing image": (["cosim", "-d", "blk", "--image", "no such file"], "there is no image no such"),
    "cosim's image for rng": (["cosim", "-d", "rng", "--image", __file__], "which is not a multiple of 512"),
    "cosim's wire for rng": (["cosim", "-d", "rng", "--wire", "x"], "a wire is for net, not rng"),
    "cosim's seed": (["cosim", "-d", "rng", "--seed=-1"], "the seed has to be from 0"),
    "option": (["sim", "--what"], "--what"),
    "command": (["what"], "what"),
}


@pytest.mark.parametrize(("arguments", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_parameter_gets_one_sentence_and_exit_code_2(monkeypatch, capsys, arguments, sentence):
    code, output, errors = call(monkeypatch, capsys, *arguments)
    assert code == 2
    assert output == ""
    assert errors.startswith("virtio-endpoint: ") and sentence in errors
    assert errors.count("\n") == 1


def asked(monkeypatch, capsys, *arguments: str) -> list[Configuration]:
    """The configurations that would be written and linted."""
    found: list[Configuration] = []

    def note(configuration: Configuration) -> bool:
        found.append(configuration)
        return True

    monkeypatch.setattr("virtio_sim.cli._write_and_lint", note)
    assert call(monkeypatch, capsys, *arguments)[0] == 0
    return found


def test_of_all_devices_each_gets_the_parameters_that_concern_it(monkeypatch, capsys):
    options = ["--queues", "3", "--interface", "transitional", "--queue-size", "16", "--width", "64"]
    assert asked(monkeypatch, capsys, "hdl", *options) == [
        Configuration("rng", 64, queue_size=16, interface="transitional"),
        Configuration("blk", 64, queue_size=16, interface="transitional", queues=3),
        Configuration("net", 64, queue_size=16, queues=3),
        Configuration("vmmci", 64),
    ]


def test_a_device_that_is_named_comes_alone_and_as_it_is_asked_for(monkeypatch, capsys):
    assert asked(monkeypatch, capsys, "hdl", "-d", "vmmci") == [Configuration("vmmci")]
    assert asked(monkeypatch, capsys, "hdl", "-d", "rng", "-i", "legacy") == [
        Configuration("rng", interface="legacy")
    ]


def test_lint_covers_every_device_at_every_width_and_with_every_interface(monkeypatch, capsys):
    found = asked(monkeypatch, capsys, "lint")
    assert {(c.device, c.width) for c in found} == {
        (device, width) for device in ("rng", "blk", "net", "vmmci") for width in (64, 128, 256)
    }
    assert {(c.device, c.interface) for c in found} == {
        *((device, interface) for device in ("rng", "blk") for interface in Interface),
        ("net", "modern"),
        ("vmmci", "legacy"),
    }
    assert {c.queues for c in found if c.device == "net"} == {1, 4}
    assert len(found) == len(set(found)) == 17


def test_lint_can_be_asked_for_a_part(monkeypatch, capsys):
    found = asked(monkeypatch, capsys, "lint", "--device", "blk", "--interface", "legacy")
    assert found == [Configuration("blk", interface="legacy")]


@pytest.mark.parametrize("content", [bytes(100), bytes(512 * 64)], ids=["no sectors", "no file system"])
def test_an_image_of_no_use_gets_one_sentence_and_exit_code_2(monkeypatch, capsys, tmp_path, content):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("virtio_sim.job.simulator", lambda *_, **__: tmp_path)
    monkeypatch.setattr("virtio_sim.job.generate", lambda _: "")
    path = tmp_path / "disk.img"
    path.write_bytes(content)
    code, _, errors = call(monkeypatch, capsys, "sim", "--device", "blk", "--image", str(path))
    assert code == 2
    assert errors.startswith("virtio-endpoint: ") and errors.count("\n") == 1


@pytest.mark.parametrize("command", ["sim", "hdl", "lint", "--help"])
def test_every_command_has_help(monkeypatch, capsys, command):
    arguments = [command] if command == "--help" else [command, "--help"]
    code, output, _ = call(monkeypatch, capsys, *arguments)
    assert code == 0
    assert "Usage: virtio-endpoint" in output


def run_sim(monkeypatch, capsys, tmp_path, result: TestResult) -> tuple[object, str, str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("virtio_sim.cli.Job.run", lambda self, listener: ([result], None))
    return call(monkeypatch, capsys, "sim", "--device", "rng")


def test_a_failure_is_told_and_ends_with_exit_code_1(monkeypatch, capsys, tmp_path):
    failed = TestResult("rng: entropy", "failed", message="[it] broke")
    code, output, _ = run_sim(monkeypatch, capsys, tmp_path, failed)
    assert code == 1
    assert "rng: entropy: [it] broke" in output
    assert '"failed": 1' in (tmp_path / "build/sim/report.json").read_text()


def test_success_ends_with_exit_code_0_and_a_report(monkeypatch, capsys, tmp_path):
    code, output, _ = run_sim(monkeypatch, capsys, tmp_path, TestResult("rng: entropy", "passed"))
    assert code == 0
    assert "rng: entropy" in output
    assert '"passed": 1' in (tmp_path / "build/sim/report.json").read_text()


def test_what_verilator_says_reaches_the_report(monkeypatch, capsys, tmp_path):
    def refuse(*_: object, **__: object) -> None:
        raise BuildError("verilator_bin failed")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("virtio_sim.job.simulator", refuse)
    monkeypatch.setattr("virtio_sim.job.generate", lambda _: "")
    code, output, _ = call(monkeypatch, capsys, "sim", "--device", "rng")
    assert code == 1
    assert "verilator_bin failed" in output


def test_the_users_image_is_never_changed(monkeypatch, capsys, tmp_path):
    path = tmp_path / "disk.img"
    image = fat.make_image(1 << 20)
    path.write_bytes(image)
    seen = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("virtio_sim.job.simulator", lambda *_, **__: tmp_path)
    monkeypatch.setattr("virtio_sim.job.generate", lambda _: "")
    monkeypatch.setattr("virtio_sim.job.Job._simulate", lambda self, *a: (seen.append(a[2]), ([], None))[1])
    monkeypatch.setattr(
        "virtio_sim.job.Job._compare", lambda self, *_: TestResult("blk: compare files", "passed")
    )
    assert call(monkeypatch, capsys, "sim", "--device", "blk", "--image", str(path))[0] == 0
    assert path.read_bytes() == image
    assert seen[0]["image"] != str(path)
