import sys
from pathlib import Path

import pytest
from virtio_sim.guest.artifacts import Kernel, Prefix
from virtio_sim.guest.machine import Guest, GuestError, command_line, complaints

#: Stands in for QEMU: writes the kernel's console, and speaks the protocol on the inherited socket.
QEMU = """
import os, re, socket, sys
words = " ".join(sys.argv)
kernel = open(re.search(r"-serial file:(\\S+)", words)[1], "w")
port = socket.socket(fileno=int(re.search(r"socket,id=protocol,fd=(\\d+)", words)[1]))
behaviour = re.search(r"behave=(\\w+)", words)[1]
print("qemu: hello", flush=True)
print("[0.1] Linux", file=kernel, flush=True)
if behaviour == "dies":
    sys.exit(3)
port.sendall(b"@up root initramfs release 6.1\\n")
for line in port.makefile("r"):
    number, script = line.split()[2:4]
    if script == "off" and behaviour == "stays":
        port.sendall(f"@begin {number}\\n@end {number} 1\\n".encode())
    elif script == "off":
        sys.exit(0)
    elif script == "panic":
        print("[9.9] Kernel panic - not syncing: sysrq", file=kernel, flush=True)
        sys.exit(0)
    else:
        port.sendall(f"@begin {number}\\n@fact pid {os.getpid()}\\n@end {number} 0\\n".encode())
"""


class Fake(Prefix):
    """A prefix with a QEMU of its own."""

    def qemu(self):
        path = self.path / "qemu.py"
        path.write_text(QEMU)
        return [sys.executable, str(path)]


@pytest.fixture
def boot(tmp_path):
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / "vmlinuz-6.1").write_bytes(b"")
    kernel = Kernel("6.1", "6.1", "6.1-1", tmp_path)

    def make(behaviour):
        arguments = {"directory": tmp_path / "logs", "append": f"behave={behaviour}"}
        return Guest(Fake(tmp_path), kernel, tmp_path / "initrd", **arguments)

    return make


def test_a_guest_comes_up_answers_and_is_switched_off(boot):
    with boot("well") as guest:
        facts, seconds = guest.up(30)
        assert facts == {"root": "initramfs", "release": "6.1"}
        assert seconds > 0
        assert int(guest.console.run("anything", deadline=30).facts["pid"]) > 0
        guest.off()
    assert "Linux" in guest.kernel_log
    assert "@up root initramfs" in (guest.directory / "console.log").read_text()
    assert "behave=well" in (guest.directory / "command").read_text()


def test_a_guest_that_dies_leaves_its_last_words(boot):
    with boot("dies") as guest:
        with pytest.raises(
            GuestError, match=r"gone.*last words of QEMU: qemu: hello; the kernel: \[0.1\] Linux$"
        ):
            guest.up(30)


def test_a_guest_may_die_of_a_panic(boot):
    with boot("well") as guest:
        guest.up(30)
        guest.panic()


def test_a_guest_that_is_left_is_ended(boot):
    with boot("well") as guest:
        guest.up(30)
        process = int(guest.console.run("anything", deadline=30).facts["pid"])
    assert not Path(f"/proc/{process}").exists()


def test_a_killed_guest_cannot_be_killed_again(boot):
    with boot("well") as guest:
        guest.up(30)
        guest.kill()
        with pytest.raises(GuestError, match="^QEMU had ended before it was killed"):
            guest.kill()


def test_a_guest_that_does_not_switch_itself_off_is_an_error(boot, monkeypatch):
    monkeypatch.setattr("virtio_sim.guest.machine.END", 0.2)
    with boot("stays") as guest:
        guest.up(30)
        with pytest.raises(GuestError, match="^QEMU still runs 0 s after the guest was switched off$"):
            guest.off()


def test_guest_memory_is_shared_and_nothing_comes_by_default():
    words = command_line(
        Prefix(Path("/p")), Path("k"), Path("i"), "quiet", ["-device", "x"], serial=["file:a", "chardev:b"]
    )
    line = " ".join(words)
    assert "memory-backend-memfd,id=ram,size=256M,share=on" in line
    assert "q35,memory-backend=ram" in line
    assert "-nodefaults" in words and "-accel tcg" in line
    assert line.index("pcie-root-port,id=port0") < line.index("-device x")
    assert line.index("-serial file:a") < line.index("-serial chardev:b")
    assert words[0] == "/p/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"


def test_what_belongs_to_the_platform_comes_before_every_device():
    words = command_line(
        *(Prefix(Path("/p")), Path("k"), Path("i"), "quiet", ["-device", "x"]),
        serial=["file:a", "chardev:b"],
        platform=["-device", "iommu"],
    )
    devices = [words[n + 1].partition(",")[0] for n, word in enumerate(words) if word == "-device"]
    assert devices == ["iommu", "pcie-root-port", "x"]


@pytest.mark.parametrize(
    "line",
    [
        "[ 1.2] WARNING: CPU: 0 PID: 1 at drivers/virtio/virtio.c:1",
        "[ 1.2] BUG: kernel NULL pointer dereference",
        "[ 1.2] Kernel panic - not syncing: VFS",
        "[ 1.2] I/O error, dev vda, sector 8 op 0x0:(READ)",
        "[ 1.2] irq 22: nobody cared (try booting with irqpoll)",
        "[ 1.2] EXT4-fs error (device vda): ext4_lookup:1",
        "[ 1.2] virtio_blk: probe of virtio0 failed with error -5",
        "[ 1.2] virtio_blk virtio0: probe with driver virtio_blk failed with error -5",
        "[ 1.2] INFO: task dd:77 blocked for more than 120 seconds.",
        "[ 1.2] virtio_rng virtio0: output:id 3 is not a head! error",
    ],
)
def test_a_line_that_tells_of_trouble_is_found(line):
    assert complaints(f"[ 0.1] Linux version\n{line}\r\n[ 2.0] done\n") == [line]


def test_lines_of_a_good_boot_are_no_complaints():
    log = "\n".join(
        [
            "[    0.8] APIC calibration not consistent with PM-Timer: 97ms instead of 100ms",
            "[    7.1] virtio_blk virtio0: [vda] 65536 512-byte logical blocks (33.6 MB/32.0 MiB)",
            "[    7.2] EXT4-fs (vda): mounted filesystem 5ca1ab1e ro with ordered data mode.",
            "[   11.3] reboot: Power down",
        ]
    )
    assert complaints(log) == []
