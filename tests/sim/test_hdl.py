import pytest
from virtio_sim import hdl
from virtio_sim.config import Configuration
from virtio_sim.hdl import generate

CONFIGURATION = Configuration("rng", 64)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Configurations that were converted; each call of ``generate`` is that of a new process."""
    calls = []

    def converted(configuration):
        calls.append(configuration)
        return f"Verilog number {len(calls)}"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hdl, "_converted", converted)
    monkeypatch.setattr(hdl, "generate", generate.__wrapped__)
    return calls


def test_verilog_is_made_once(made):
    assert hdl.generate(CONFIGURATION) == hdl.generate(CONFIGURATION) == "Verilog number 1"
    assert made == [CONFIGURATION]


def test_each_configuration_has_verilog_of_its_own(made):
    other = Configuration("rng", 64, tags=8)
    assert {hdl.generate(CONFIGURATION), hdl.generate(other)} == {"Verilog number 1", "Verilog number 2"}


def test_a_change_in_any_source_makes_verilog_again(made, monkeypatch):
    hdl.generate(CONFIGURATION)
    for number in range(len(hdl.SOURCES)):
        changed = [*hdl.SOURCES]
        changed[number] += " "
        with monkeypatch.context() as patch:
            patch.setattr(hdl, "SOURCES", changed)
            assert hdl.generate(CONFIGURATION) == f"Verilog number {number + 2}"


def test_the_gateware_the_formats_and_the_conversion_are_sources():
    text = "\n".join(hdl.SOURCES)
    for line in ("class Endpoint(", "class RngDevice(", "class StorageSignature(", "def to_verilog("):
        assert line in text
