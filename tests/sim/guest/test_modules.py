import lzma

import pytest
from virtio_sim.guest.artifacts import ArtifactError
from virtio_sim.guest.modules import dependencies, load_order


def module(depends):
    return b"\x7fELF...\0license=GPL\0depends=" + depends.encode() + b"\0name=x\0"


@pytest.fixture
def tree(tmp_path):
    modules = tmp_path / "6.1.0-test"
    drivers = modules / "kernel" / "drivers"
    drivers.mkdir(parents=True)
    (drivers / "virtio_blk.ko").write_bytes(module("virtio,virtio_ring"))
    (drivers / "virtio.ko").write_bytes(module(""))
    (drivers / "virtio_ring.ko.xz").write_bytes(lzma.compress(module("virtio")))
    (drivers / "virtio-rng.ko").write_bytes(module("rng-core,virtio"))
    (modules / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\nkernel/drivers/rng-core.ko\n")
    return modules


def test_what_a_module_depends_on_is_loaded_before_it(tree):
    assert list(load_order(tree, ["virtio_blk"])) == ["virtio", "virtio_ring", "virtio_blk"]


def test_a_dash_in_a_name_is_an_underscore_and_what_is_built_in_is_left_out(tree):
    assert list(load_order(tree, ["ext4", "virtio_rng"])) == ["virtio", "virtio_rng"]


def test_a_compressed_module_is_unpacked(tree):
    assert load_order(tree, ["virtio_ring"])["virtio_ring"] == module("virtio")


def test_a_module_that_is_not_there_is_named(tree):
    with pytest.raises(ArtifactError, match=r"^the kernel in 6\.1\.0-test has no module virtio_net$"):
        load_order(tree, ["virtio_net"])


def test_an_unknown_compression_is_named(tree):
    (tree / "kernel" / "virtio_net.ko.br").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"^module virtio_net\.ko\.br is compressed in a way that"):
        load_order(tree, ["virtio_net"])


def test_a_module_without_dependencies_names_none():
    assert dependencies(module("")) == []
    assert dependencies(b"\0license=GPL\0") == []


def test_a_kernel_without_a_list_of_what_is_built_in_is_no_whole_kernel(tree):
    (tree / "modules.builtin").unlink()
    with pytest.raises(
        ArtifactError, match=r"^the kernel in 6\.1\.0-test does not list what it has built in$"
    ):
        load_order(tree, ["virtio_blk"])
