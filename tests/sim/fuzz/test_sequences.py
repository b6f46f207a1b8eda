"""Sequences of a driver's actions: the gateware agrees with the model, and devices that do not are found."""

import pytest
from helpers.command import call
from helpers.native import RNG, endpoint_library
from virtio_models.device import ReferenceDevice
from virtio_sim.fuzz import benches
from virtio_sim.fuzz.sequences import sequences
from virtio_spec.virtio import DeviceStatus


class ForgetsItsVectorWithAQueue(ReferenceDevice):
    """The reset of a queue takes the configuration's vector away."""

    def _reset_queue(self, number):
        super()._reset_queue(number)
        self.config_vector = 0xFFFF


class FailsQuietly(ReferenceDevice):
    """A driver's FAILED is not kept."""

    def _set_status(self, value):
        super()._set_status(value)
        self.status &= ~DeviceStatus.FAILED


class TakesLateFeatures(ReferenceDevice):
    """Features are taken after FEATURES_OK."""

    def _set_driver_feature(self, value):
        if DeviceStatus.FEATURES_OK in self.status and not self.driver_feature_select:
            self.accepted = self.accepted & ~0xFFFF_FFFF | value
        else:
            super()._set_driver_feature(value)


#: A broken device, and the actions without which it cannot be seen.
BROKEN = {
    ForgetsItsVectorWithAQueue: ["start", "reset_queue"],
    FailsQuietly: ["start", "write_status"],
    TakesLateFeatures: ["start", "write_features"],
}


@pytest.mark.parametrize("device", BROKEN, ids=lambda device: device.__name__)
def test_the_shortest_sequence_that_shows_a_bug_is_found(device):
    failure = sequences(benches.model(RNG), benches.model(RNG, device=device), seed=1, count=60)
    assert failure is not None
    names = [name for name, _ in failure.actions]
    assert names == BROKEN[device]
    assert str(failure).startswith("start(0), ") and "Difference: after " in str(failure)


def test_the_gateware_agrees_with_the_model_whatever_a_driver_does():
    made = benches.native(endpoint_library(RNG), RNG)
    failure = sequences(benches.model(RNG), made, seed=1, count=25)
    assert failure is None, f"{failure}\n{failure.detail}"


def test_the_command_tells_the_sequence_and_how_to_see_it_again(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments = ["--backend", "model", "-d", "rng", "--seed", "2", "--sequences"]
    code, output, _ = call(monkeypatch, capsys, "fuzz", *arguments, "5")
    assert (code, output) == (0, "rng-64-c5000-h5000 on model: 5 sequences, all passed\n")
    made = iter([benches.model(RNG, device=FailsQuietly), benches.model(RNG)])
    monkeypatch.setattr("virtio_sim.fuzz.command.model", lambda configuration: next(made))
    code, output, _ = call(monkeypatch, capsys, "fuzz", *arguments, "40")
    assert code == 1
    *_, sequence, again = output.splitlines()
    assert sequence.startswith("start(0), write_status(")
    assert again == "again: make fuzz DEVICE=rng SEED=2 SEQUENCES=40 WIDTH=64 BACKEND=model"
