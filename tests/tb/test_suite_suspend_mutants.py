"""The cases on SUSPEND and SR_IOV see a device that is wrong there."""

import pytest
from helpers.mutants import is_found
from virtio_models.device import ReferenceDevice
from virtio_spec.virtio import DeviceStatus, Feature


class SuspendsAtOnce(ReferenceDevice):
    def _set_status(self, value):
        super()._set_status(value)
        if value and DeviceStatus.SUSPEND in DeviceStatus(value):
            self.status |= DeviceStatus.SUSPEND


class SuspendEndsTheInitialisation(ReferenceDevice):
    def _set_status(self, value):
        super()._set_status(0 if DeviceStatus.SUSPEND in DeviceStatus(value) else value)


class OffersVirtualFunctions(ReferenceDevice):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.offered |= 1 << Feature.SR_IOV


MUTANTS = [
    (SuspendsAtOnce, "suspend.a_device_that_is_not_initialised_is_not_suspended"),
    (SuspendEndsTheInitialisation, "suspend.a_device_that_is_not_initialised_is_not_suspended"),
    (OffersVirtualFunctions, "pci.virtual_functions_are_offered_only_where_they_can_be"),
]


@pytest.mark.parametrize(("device", "case"), MUTANTS, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_device_is_found(device, case):
    assert not is_found("rng", case, {})
    assert is_found("rng", case, {"device": device})
