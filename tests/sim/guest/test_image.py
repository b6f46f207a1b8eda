import gzip
import hashlib
import json
import sys
from pathlib import Path

import pytest
from virtio_sim.guest.artifacts import Artifacts, Kernel
from virtio_sim.guest.image import ImageError, RootImage, contents, data_image, initramfs, scripts

#: Stands in for the tools of ext4: writes down how it was called, and what is in the tree it was given.
TOOL = """
import json, pathlib, sys
words = sys.argv[1:]
seen = {"arguments": words}
if "-d" in words:
    tree = pathlib.Path(words[words.index("-d") + 1])
    files = [path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink()]
    seen["files"] = {str(path.relative_to(tree)): path.read_bytes().hex() for path in files}
    seen["run"] = [str(path.relative_to(tree)) for path in files if path.stat().st_mode & 0o111]
    seen["links"] = {p.name: str(p.readlink()) for p in tree.rglob("*") if p.is_symlink()}
LOG = pathlib.Path(__file__).with_suffix(".json")
LOG.write_text(json.dumps(seen))
answer = pathlib.Path(__file__).with_suffix(".answer")
if answer.exists():
    status, text = json.loads(answer.read_text())
    print(text)
    sys.exit(status)
"""


class Tools:
    """In place of a prefix."""

    environment: dict = {}

    def __init__(self, directory):
        self._directory = directory

    def command(self, program):
        path = self._directory / f"{Path(program).name}.py"
        path.write_text(TOOL)
        return [sys.executable, str(path)]

    def seen(self, name):
        return json.loads((self._directory / f"{name}.json").read_text())

    def answer(self, name, status, text):
        (self._directory / f"{name}.answer").write_text(json.dumps([status, text]))


@pytest.fixture
def tools(tmp_path):
    return Tools(tmp_path)


@pytest.fixture
def made(tmp_path, tools):
    busybox = tmp_path / "busybox"
    busybox.write_text("#!/bin/sh\nprintf 'busybox\\nls\\nsh\\n'\n")
    busybox.chmod(0o755)
    modules = tmp_path / "lib/modules/6.1.0/kernel"
    modules.mkdir(parents=True)
    (modules / "virtio_blk.ko").write_bytes(b"\0depends=\0")
    names = "virtio_pci virtio_rng virtio_net ext4".split()
    (modules.parent / "modules.builtin").write_text("".join(f"kernel/{name}.ko\n" for name in names))
    return Artifacts(tools, busybox, {"6.1": Kernel("6.1", "6.1.0", "6.1.1", tmp_path)}, {})


def test_the_root_file_system_holds_files_with_their_sums_and_what_runs_there(tmp_path, tools, made):
    image = RootImage(tools, tmp_path / "disk.img", size=1 << 24)
    image.make(made, {"load": b"program"}, seed=5)
    seen = tools.seen("mke2fs")
    files = {name: bytes.fromhex(content) for name, content in seen["files"].items()}
    assert image.files == contents(5) == {name: files[name] for name in contents(5)}
    sums = dict(line.split("  ")[::-1] for line in files["sums"].decode().splitlines())
    assert sums == {name: hashlib.sha256(files[name]).hexdigest() for name in contents(5)}
    assert set(seen["run"]) == {"bin/busybox", "bin/load", *(f"checks/{name}" for name in scripts())}
    assert seen["links"] == {"ls": "busybox", "sh": "busybox"}
    assert seen["arguments"][-2:] == [str(tmp_path / "disk.img"), "16384k"]
    assert not (tmp_path / "disk.tree").exists()


def test_files_come_from_the_seed_alone_in_sizes_around_a_block():
    assert contents(1) == contents(1) != contents(2)
    assert {0, 1, 511, 512, 513, 4095, 4096, 4097} <= {len(content) for content in contents(1).values()}


def test_what_the_tools_complain_of_is_the_message(tmp_path, tools):
    tools.answer("e2fsck", 4, "Inode 12 is wrong")
    with pytest.raises(ImageError, match="^e2fsck ended with 4: Inode 12 is wrong"):
        RootImage(tools, tmp_path / "disk.img").check()


def test_a_check_changes_nothing_and_spares_nothing(tmp_path, tools):
    RootImage(tools, tmp_path / "disk.img").check()
    assert tools.seen("e2fsck")["arguments"] == ["-f", "-n", str(tmp_path / "disk.img")]


def test_a_file_system_that_cannot_be_read_is_an_error(tmp_path, tools):
    tools.answer("debugfs", 0, "debugfs 1.47\nrdump: Inode checksum does not match while reading")
    with pytest.raises(ImageError, match="^debugfs cannot read the image: rdump: Inode checksum"):
        RootImage(tools, tmp_path / "disk.img").read(tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()


def test_an_initramfs_is_the_same_each_time_and_starts_with_the_script_init(made, read_newc):
    packed = initramfs(made, made.kernels["6.1"], {"load": b"program"})
    assert packed == initramfs(made, made.kernels["6.1"], {"load": b"program"})
    files = {name: (mode, content) for name, mode, content, _ in read_newc(gzip.decompress(packed))}
    assert files["init"] == (0o100755, scripts()["init.sh"])
    assert files["checks/agent.sh"] == (0o100755, scripts()["agent.sh"])
    assert files["bin/load"] == (0o100755, b"program")
    assert files["bin/sh"] == (0o120777, b"busybox")
    assert files["lib/order"][1] == b"virtio_blk\n"
    assert files["lib/virtio_blk.ko"][1] == b"\0depends=\0"


def test_further_drivers_and_files_have_their_directories_before_them(made, read_newc):
    tree = made.kernels["6.1"].modules / "kernel"
    (tree / "vfio.ko").write_bytes(b"\0depends=\0")
    files = {"usr/bin/python3": b"interpreter", "usr/lib/os.pyc": b"compiled"}
    packed = initramfs(made, made.kernels["6.1"], {}, modules=("vfio",), files=files)
    entries = read_newc(gzip.decompress(packed))
    names = [name for name, *_ in entries]
    assert names.index("usr") < names.index("usr/bin") < names.index("usr/bin/python3")
    assert names.count("usr") == 1 and "." not in names
    found = {name: content for name, _, content, _ in entries}
    assert found["lib/order"] == b"virtio_blk\nvfio\n" and found["usr/lib/os.pyc"] == b"compiled"


def test_a_disk_without_a_file_system_is_as_it_says(tmp_path):
    content = data_image(tmp_path / "disk.img", seed=1, size=8192)
    assert len(content) == 8192
    assert (tmp_path / "disk.img").read_bytes() == content
