"""How a card is found, and what is said if it cannot be had, with a tree in place of /sys and /dev."""

import errno
import os

import pytest
from cocotbext.virtio.backends.vfio_card import Card
from cocotbext.virtio.backends.vfio_group import VfioError, find_group

ADDRESS = "0000:01:00.0"


class Tree:
    def __init__(self, root):
        self.root = root
        self.function(ADDRESS)

    def function(self, address, *, driver="vfio-pci", group=7):
        path = self.root / "sys/bus/pci/devices" / address
        path.mkdir(parents=True, exist_ok=True)
        for name in ("driver", "iommu_group"):
            (path / name).unlink(missing_ok=True)
        if driver:
            (self.root / "sys/bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
            (path / "driver").symlink_to(self.root / "sys/bus/pci/drivers" / driver)
        if group is not None:
            devices = self.root / "sys/kernel/iommu_groups" / str(group) / "devices"
            devices.mkdir(parents=True, exist_ok=True)
            (path / "iommu_group").symlink_to(devices.parent)
            if not (devices / address).is_symlink():
                (devices / address).symlink_to(path)

    def files(self, *names):
        (self.root / "dev/vfio").mkdir(parents=True, exist_ok=True)
        for name in names:
            (self.root / "dev/vfio" / name).touch()


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


@pytest.mark.parametrize("name, iommu", [("7", True), ("noiommu-7", False)])
def test_a_group_is_found_with_an_iommu_or_without(tree, name, iommu):
    tree.files("vfio", name)
    found = find_group(ADDRESS, tree.root)
    assert (found.number, found.path, found.iommu) == (7, tree.root / "dev/vfio" / name, iommu)


@pytest.mark.parametrize("address", ["01:00.0", "0000:01:00", "0000:01:00.9", "card", "0000:01:00.0/.."])
def test_a_card_is_named_in_full(tree, address):
    with pytest.raises(VfioError, match="^a card is named by its PCI address, as in 0000:01:00.0, not "):
        find_group(address, tree.root)


def test_a_card_that_is_not_there_is_said_to_be_missing(tree):
    with pytest.raises(VfioError, match="^there is no PCI function 0000:02:00.0; lspci -D lists "):
        find_group("0000:02:00.0", tree.root)


@pytest.mark.parametrize(
    "driver, state", [("virtio-pci", "it is bound to virtio-pci"), ("", "it has no driver")]
)
def test_a_card_with_another_driver_is_to_be_bound(tree, driver, state):
    tree.function(ADDRESS, driver=driver)
    with pytest.raises(VfioError, match=f"^bind 0000:01:00.0 to vfio-pci first, {state}; docs/vfio.md says"):
        find_group(ADDRESS, tree.root)


def test_without_a_group_the_iommu_is_to_be_turned_on(tree):
    tree.function(ADDRESS, group=None)
    with pytest.raises(VfioError, match="^0000:01:00.0 is in no IOMMU group; turn the IOMMU on "):
        find_group(ADDRESS, tree.root)


def test_without_the_groups_file_the_module_is_to_be_loaded(tree):
    with pytest.raises(VfioError, match=r"^there is no \S+/dev/vfio/7; load the module vfio-pci, or give "):
        find_group(ADDRESS, tree.root)


def test_without_the_containers_file_the_module_is_to_be_loaded(tree):
    tree.files("7")
    with pytest.raises(VfioError, match=r"^there is no \S+/dev/vfio/vfio; load the module vfio-pci "):
        Card(ADDRESS, tree.root)


@pytest.mark.parametrize(
    "number, said",
    [
        ("EACCES", r"^you may not open \S+/vfio/vfio; run this as root, or chown \S+ to you$"),
        ("EPERM", r"^\S+/vfio/vfio is for root: without an IOMMU a card reaches all memory$"),
        ("EBUSY", r"^somebody else has \S+/vfio/vfio open; end that program first$"),
    ],
)
def test_a_file_that_cannot_be_opened_says_who_may(tree, monkeypatch, number, said):
    def refuse(path, flags):
        raise OSError(getattr(errno, number), "refused")

    tree.files("vfio", "7")
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(VfioError, match=said):
        Card(ADDRESS, tree.root)


def test_who_else_is_in_a_group_with_a_driver_is_named(tree):
    tree.files("vfio", "7")
    tree.function("0000:01:00.1", driver="snd_hda_intel")
    tree.function("0000:01:00.2", driver="")
    tree.function("0000:00:1c.0", driver="pcieport")
    found = find_group(ADDRESS, tree.root)
    assert found.others(tree.root) == [("0000:01:00.1", "snd_hda_intel")]


def test_a_group_that_is_not_viable_names_what_is_to_be_unbound(tree, monkeypatch):
    tree.files("vfio", "7")
    tree.function("0000:01:00.1", driver="snd_hda_intel")
    monkeypatch.setattr("fcntl.ioctl", lambda *_: 0)  # of the status nothing is set
    with pytest.raises(
        VfioError, match=r"^0000:01:00.0 is not alone in IOMMU group 7: unbind 0000:01:00.1 \(snd_hda_intel\)"
    ):
        Card(ADDRESS, tree.root)
