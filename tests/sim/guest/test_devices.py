import json
import sys
from pathlib import Path

import pytest
from virtio_sim.guest.devices import Device, DeviceError, QemuProvider, ServedProvider, model_provider

#: A server: its socket, what it does on SIGTERM, or nothing at all.
SERVER = """
import pathlib, signal, socket, sys, time
path, behaviour = sys.argv[1:]
if behaviour == "refuses":
    sys.exit("the image is missing")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0 if behaviour == "well" else "cannot flush"))
server = socket.socket(socket.AF_UNIX)
server.bind(path)
print("waiting", flush=True)
if behaviour == "dies":
    sys.exit("assertion failed")
while True:
    time.sleep(0.02)
"""


def provider(tmp_path, behaviour):
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    return ServedProvider(
        "rtl",
        lambda device, image, socket: [sys.executable, str(script), str(socket), behaviour],
        [Device("rng")],
    )


def start(served, tmp_path):
    served.start(Device("rng"), image=None, directory=tmp_path)


def test_a_device_has_a_name_that_tells_it_from_others():
    assert str(Device("rng")) == "rng"
    assert str(Device("blk", "transitional", "packed")) == "blk transitional packed"
    assert str(Device("net", ring="packed", queues=2)) == "net packed 2 queues"


@pytest.mark.parametrize("words", [("tape",), ("rng", "ancient"), ("rng", "modern", "square")])
def test_what_there_is_not_is_refused(words):
    with pytest.raises(ValueError, match=f"^{words[-1]} is none of "):
        Device(*words)


@pytest.mark.parametrize(
    "interface, options",
    [
        ("modern", "disable-legacy=on,disable-modern=off"),
        ("transitional", "disable-legacy=off,disable-modern=off"),
    ],
)
def test_qemus_own_device_has_the_registers_that_were_asked_for(tmp_path, interface, options):
    qemu = QemuProvider()
    qemu.start(Device("rng", interface), image=None, directory=tmp_path)
    words = qemu.qemu_arguments("port0")
    assert words[-1] == f"virtio-rng-pci,rng=noise-port0,bus=port0,{options},packed=off"


def test_behind_an_iommu_qemus_device_uses_it_and_offers_all_rings(tmp_path):
    qemu = QemuProvider()
    qemu.start(Device("rng", iommu=True), image=None, directory=tmp_path)
    words = qemu.qemu_arguments("port0")[-1].split(",")
    assert {"iommu_platform=on", "disable-legacy=on", "packed=on", "in_order=on"} <= set(words)


def test_qemu_has_no_legacy_device_with_a_function_level_reset():
    assert not QemuProvider().offers(Device("rng", "legacy"))
    assert QemuProvider().offers(Device("rng", "transitional"))


def test_qemus_own_network_devices_are_two_at_a_hub_with_one_pair_of_queues_each(tmp_path):
    qemu = QemuProvider()
    assert qemu.offers(Device("net", ring="packed")) and not qemu.offers(Device("net", queues=2))
    device = Device("net")
    qemu.start(device, image=None, directory=tmp_path)
    assert device.buses == ("port0", "port1")
    for bus in device.buses:
        words = qemu.qemu_arguments(bus)
        assert words[:2] == ["-netdev", f"hubport,id=net-{bus},hubid=0"]
        assert words[-1].startswith(f"virtio-net-pci,netdev=net-{bus},romfile=,bus={bus},")


def test_qemus_own_disk_is_the_image_even_with_a_comma_in_its_name(tmp_path):
    qemu = QemuProvider()
    qemu.start(Device("blk", ring="packed"), image=Path("/a,b.img"), directory=tmp_path)
    words = qemu.qemu_arguments("port0")
    assert words[1].endswith("file=/a,,b.img")
    assert words[-1].startswith("virtio-blk-pci,drive=disk-port0,bus=port0,") and words[-1].endswith(
        "packed=on,num-queues=1"
    )


def test_a_disk_needs_an_image(tmp_path):
    with pytest.raises(ValueError, match="^blk with image None$"):
        QemuProvider().start(Device("blk"), image=None, directory=tmp_path)


def test_a_served_device_is_there_as_soon_as_its_socket_is(tmp_path):
    served = provider(tmp_path, "well")
    assert served.offers(Device("rng")) and not served.offers(Device("blk"))
    start(served, tmp_path)
    option, device = served.qemu_arguments("port0")
    described = json.loads(device)
    path = Path(described["socket"]["path"])
    assert option == "-device"
    assert (described["driver"], described["bus"]) == ("vfio-user-pci", "port0")
    assert path.is_socket() and len(str(path)) < 100
    served.stop()
    assert not path.parent.exists()
    assert (tmp_path / "device.log").read_text() == "waiting\n"


def test_two_network_devices_have_a_server_each_and_their_sockets_side_by_side(tmp_path):
    served = provider(tmp_path, "well")
    served.start(Device("net"), image=None, directory=tmp_path)
    paths = [Path(json.loads(served.qemu_arguments(bus)[1])["socket"]["path"]) for bus in ("port0", "port1")]
    assert all(path.is_socket() for path in paths)
    assert paths[0].parent == paths[1].parent and paths[0] != paths[1]
    served.stop()
    for log in ("device.log", "peer.log"):
        assert (tmp_path / log).read_text() == "waiting\n"


def test_a_server_that_refuses_is_quoted(tmp_path):
    served = provider(tmp_path, "refuses")
    with pytest.raises(DeviceError, match="^the device's server did not start: the image is missing$"):
        start(served, tmp_path)
    with pytest.raises(DeviceError, match="^the device's server ended with 1: the image is missing$"):
        served.stop()


@pytest.mark.parametrize("behaviour, word", [("dies", "assertion failed"), ("fails", "cannot flush")])
def test_a_server_that_ends_badly_is_quoted(tmp_path, behaviour, word):
    served = provider(tmp_path, behaviour)
    start(served, tmp_path)
    if behaviour == "dies":
        served._processes[0][0].wait()
    with pytest.raises(DeviceError, match=f"^the device's server ended with 1: {word}$"):
        served.stop()


def test_the_reference_model_can_be_served(tmp_path):
    served = model_provider()
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(4096))
    served.start(Device("blk"), image=image, directory=tmp_path)
    served.stop()
    assert "waiting for a client" in (tmp_path / "device.log").read_text()
