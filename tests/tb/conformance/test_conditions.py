"""Whether a requirement concerns a device."""

from dataclasses import asdict, replace

import pytest
from cocotbext.virtio.backends.model import run
from cocotbext.virtio.backends.model_bench import model_bench
from cocotbext.virtio.conformance import Facts, catalogue, look, why_not
from cocotbext.virtio.conformance.catalogue import BINDING
from virtio_spec.blk import BlkFeature
from virtio_spec.net import NetFeature
from virtio_spec.virtio import DeviceType, Feature, feature_mask
from virtio_spec.virtio_pci import Interface

BARE = Facts(DeviceType.BLOCK, Interface.MODERN, feature_mask(Feature.VERSION_1), queues=1, vectors=2)
#: A requirement, two devices of which only the second is concerned, and what is said of the first.
CONCERNED = {
    "feature negotiated": (
        "RFB-DEV-05",
        {"features": 0},
        {"features": feature_mask(Feature.IN_ORDER)},
        "the condition does not hold: IN_ORDER=1",
    ),
    "feature offered": (
        "BLK-DEV-02",
        {"features": 0},
        {"features": feature_mask(BlkFeature.CONFIG_WCE)},
        "the condition does not hold: offer(CONFIG_WCE)",
    ),
    "feature not offered": (
        "PCI-NTF-DEV-02",
        {"features": feature_mask(Feature.NOTIFICATION_DATA)},
        {"features": 0},
        "the condition does not hold: not offer(NOTIFICATION_DATA)",
    ),
    "one of several": (
        "BLK-DEV-23",
        {"features": 0},
        {"features": feature_mask(BlkFeature.DISCARD)},
        "the condition does not hold: DISCARD/SECURE_ERASE/WRITE_ZEROES",
    ),
    "both clauses": (
        "PACKED-DEV-P07",
        {"features": feature_mask(Feature.RING_PACKED)},
        {"features": feature_mask(Feature.RING_PACKED, Feature.INDIRECT_DESC)},
        "the condition does not hold: INDIRECT_DESC=1",
    ),
    "bits mean something else for another type": (
        "NET-DEV-109",
        {"device_type": DeviceType.NET, "features": feature_mask(BlkFeature.MQ)},
        {"device_type": DeviceType.NET, "features": feature_mask(NetFeature.MQ)},
        "the condition does not hold: MQ=1",
    ),
    "type": (
        "BLK-DEV-P02",
        {"device_type": DeviceType.ENTROPY},
        {},
        "it is about devices of the type blk",
    ),
    "interface": (
        "PCI-LEG-DEV-P04",
        {},
        {"interface": Interface.TRANSITIONAL},
        "the condition does not hold: legacy",
    ),
    "modern registers": (
        "PCI-CC-DEV-02",
        {"interface": Interface.LEGACY},
        {},
        "the device has only the legacy interface",
    ),
    "queues": ("SPLIT-DEV-03", {"queues": 0}, {}, "the device has no virtqueues"),
    "vectors": ("MSIX-DEV-07", {"vectors": 0}, {}, "the condition does not hold: has MSI-X"),
    "capability": ("PCI-VND-DEV-02", {}, {"structures": (1, 9)}, "the condition does not hold: vendor cap"),
    "device configuration": (
        "CFG-DEV-01",
        {"device_type": DeviceType.ENTROPY},
        {},
        "its type has no device configuration",
    ),
}


@pytest.mark.parametrize(("identity", "without", "concerned", "reason"), CONCERNED.values(), ids=CONCERNED)
def test_a_requirement_concerns_devices_of_its_condition_only(identity, without, concerned, reason):
    assert why_not(catalogue()[identity], replace(BARE, **without)) == reason
    assert why_not(catalogue()[identity], replace(BARE, **concerned)) == ""


@pytest.mark.parametrize("kind", [DeviceType.NET, DeviceType.BLOCK, DeviceType.ENTROPY, DeviceType.VMMCI])
@pytest.mark.parametrize("features", [0, (1 << 64) - 1 & ~(1 << Feature.ADMIN_VQ)], ids=["none", "all"])
def test_every_condition_is_understood(kind, features):
    facts = replace(BARE, device_type=kind, features=features, interface=Interface.TRANSITIONAL)
    for requirement in catalogue().values():
        if requirement.actor == "device" or requirement.level in BINDING:
            assert why_not(requirement, facts).isprintable(), requirement.id


def test_an_unknown_condition_and_an_unknown_feature_are_errors():
    some = catalogue()["RFB-DEV-05"]
    with pytest.raises(ValueError, match="^there is no condition 'the moon is full'$"):
        why_not(replace(some, applies_if="the moon is full"), BARE)
    with pytest.raises(ValueError, match="^there is no feature NOT_IN_ORDER$"):
        why_not(replace(some, applies_if="NOT_IN_ORDER=0"), BARE)


def test_a_device_is_asked_what_it_is():
    bench = model_bench("blk", seed=1, interface=Interface.TRANSITIONAL, queues=3)
    facts = run(look(bench))
    assert (facts.device_type, facts.interface) == (DeviceType.BLOCK, Interface.TRANSITIONAL)
    assert (facts.queues, facts.structures) == (3, (1, 2, 3, 4, 5))
    assert facts.vectors >= 2
    assert facts.offers("MQ") and facts.offers("VERSION_1") and not facts.offers("ZONED")
    assert facts.offers("ANY_LAYOUT")  # on its legacy interface only
    assert Facts.from_dict({**asdict(facts), "interface": "transitional"}) == facts
