"""Somebody else's device, by the name of its bench."""

import json
import sys

import pytest
from cocotbext.virtio.suite.registry import Case
from helpers.command import call
from virtio_sim.config import ConfigError
from virtio_sim.conformance.own import load
from virtio_sim.conformance.own_run import own_run

BENCH = """
from cocotbext.virtio.backends.model_bench import model_bench

async def make(setup):
    model = model_bench("rng", seed=setup.seed)
    return setup.bench(model.host, device="rng", queue_size=model.queue_size, entropy=model.entropy)

async def broken(setup):
    raise OSError("there is no card in slot 3")

async def nothing(setup):
    return 3

def plain(setup):
    return 3
"""


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    """A working directory with a bench in it, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_bench.py").write_text(BENCH)
    (tmp_path / "wrong.py").write_text("1 / 0")
    (tmp_path / "hungry.py").write_text("import no_such_package")
    yield tmp_path
    for name in ("my_bench", "wrong", "hungry"):
        sys.modules.pop(name, None)


def test_a_bench_says_what_is_run():
    run = own_run("my_bench:make", (), "", variants=(), seed=1)
    assert (run.name, run.device, run.backend) == ("own my_bench:make modern", "rng", "own")
    assert {driver.transport for driver in run.drivers()} == {"modern"}
    names = {case.name for driver in run.drivers() for case in run.cases(driver)}
    assert "common.a_reset_clears_the_registers" in names
    assert any(name.startswith("queue_reset.") for name in names), "what the device offers is tested"
    assert not any(name.startswith("malformed.") for name in names), "there are no raw packets"


def test_rings_that_a_device_does_not_offer_are_left_out(directory):
    (directory / "my_bench.py").write_text(
        BENCH.replace('"rng", seed', '"rng", rings=RingOptions(packed=False, indirect=False), seed')
        + "\nfrom virtio_models.options import RingOptions\n"
    )
    run = own_run("my_bench:make", (), "", variants=(), seed=1)
    assert run.drivers() and not any(
        driver.variant.packed or driver.variant.indirect for driver in run.drivers()
    )
    with pytest.raises(ConfigError, match="^the device does not offer such rings$"):
        own_run("my_bench:make", (), "", variants=("packed",), seed=1)


def test_its_results_stand_in_the_report(monkeypatch, capsys, directory):
    async def fine(bench):
        await bench.start()

    async def wrong(bench):
        raise AssertionError("the moon is full")

    listed = [
        Case(f"made_up.{each.__name__}", each, ("rng",), ("ENT-DEV-01",), (), "default", ())
        for each in (fine, wrong)
    ]
    monkeypatch.setattr("virtio_sim.conformance.own.cases", lambda *_, **__: listed)
    code, output, _ = call(
        monkeypatch, capsys, "conformance", "--bench", "my_bench:make", "--variant", "packed"
    )
    assert code == 1 and "made_up.wrong (modern natural packed): AssertionError: the moon is full" in output
    found = json.loads((directory / "build" / "conformance" / "report.json").read_text())
    (run,) = found["runs"]
    assert (run["name"], run["backend"], run["device"]) == ("own my_bench:make modern", "own", "rng")
    assert [case["message"] for case in run["cases"]] == ["", "AssertionError: the moon is full"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("make", "a bench is named as in package.module:function, not 'make'"),
        ("my_bench:", "a bench is named as in package.module:function, not 'my_bench:'"),
        ("nowhere:make", "there is no module nowhere in the working directory, nor on PYTHONPATH"),
        (
            "nowhere.at_all:make",
            "there is no module nowhere.at_all in the working directory, nor on PYTHONPATH",
        ),
        ("hungry:make", "hungry cannot be imported: No module named 'no_such_package'"),
        ("wrong:make", "wrong cannot be imported: ZeroDivisionError: division by zero"),
        ("my_bench:other", "there is no other in my_bench"),
        ("my_bench:plain", "my_bench:plain is no coroutine function: it has to be async def plain(setup)"),
    ],
)
def test_a_name_that_leads_nowhere_is_told_in_one_sentence(name, sentence):
    with pytest.raises(ConfigError) as caught:
        load(name)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--bench", "my_bench:broken"), 1, "my_bench:broken did not come up: OSError: there is no card in"),
        (("--bench", "my_bench:nothing"), 1, "did not come up: TypeError: what was made is no Bench, but 3"),
        (("--bench", "my_bench:make", "--device", "rng"), 2, "--device and --interface are not for --bench"),
        (("--bench", "my_bench:make", "--variant", "round"), 2, "there is no variant of rings 'round'"),
        (("--bench", "my_bench:make", "--verilog", "a.v"), 2, "--verilog and --top belong together"),
        (("--bench", "my_bench:make", "--verilog", "a.v", "--top", "a"), 2, "there is no a.v"),
        (("--verilog", "a.v", "--top", "a"), 2, "--verilog and --top are for --bench"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_one_sentence(monkeypatch, capsys, arguments, code, sentence):
    found, _, error = call(monkeypatch, capsys, "conformance", *arguments)
    assert (found, error.count("\n")) == (code, 1) and sentence in error
