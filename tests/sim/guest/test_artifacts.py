import json

import pytest
from virtio_sim.guest import artifacts as module
from virtio_sim.guest.artifacts import ArtifactError, Kernel, Prefix, archive_of, artifacts


def get(cache, *kernels):
    said = []
    return artifacts(kernels or ["6.1"], cache=cache, say=said.append)


def fill(cache):
    """A cache as an earlier run left it."""
    for name in ("prefix-1", "kernel-1"):
        (cache / name).mkdir(parents=True)
    versions = {"qemu-system-x86": "1:11.1.3"}
    kernel = {
        "path": "kernel-1",
        "release": "6.1.0-1-cloud",
        "version": "6.1.9-1",
        "package": "linux-image-1",
    }
    content = {"base": {"path": "prefix-1", "versions": versions}, "6.1": kernel}
    (cache / "artifacts.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "address, suite",
    [
        ("http://mirror.example/debian", "bookworm"),
        ("https://mirror.example/a/debian", "trixie-updates"),
        ("http://mirror.example/debian", "bookworm-backports"),
        ("http://mirror.example/debian", "sid"),
    ],
)
def test_the_archive_is_the_one_the_host_uses(address, suite):
    other = "'https://packages.example/node/dists/nodistro/InRelease' packages_InRelease 0\n"
    security = "'http://mirror.example/security/dists/bookworm-security/InRelease' s_InRelease 0\n"
    assert archive_of(f"{other}{security}'{address}/dists/{suite}/InRelease' x_InRelease 0\n") == address
    assert archive_of(other + security) is None


def test_a_host_without_apt_is_told_so(tmp_path, tool):
    with pytest.raises(ArtifactError, match="^the guest's parts come from .* this host has no apt-get$"):
        get(tmp_path / "cache")


def test_a_host_whose_apt_knows_no_archive_of_debian_is_told_so(tmp_path, tool, monkeypatch):
    for name in ("apt-get", "apt-cache", "dpkg", "dpkg-deb"):
        tool(name, "exit 0")
    monkeypatch.setattr(module, "KEYRINGS", (__file__,))
    monkeypatch.delenv("VIRTIO_DEBIAN_ARCHIVE", raising=False)
    with pytest.raises(ArtifactError, match="^this host's apt names no archive of Debian; set VIRTIO_DEB"):
        get(tmp_path / "cache")


def test_a_host_without_a_network_is_told_what_apt_said(tmp_path, tool, monkeypatch):
    for name in ("apt-cache", "dpkg", "dpkg-deb"):
        tool(name, "exit 0")
    tool("apt-get", 'echo "Err:1 http://mirror.example"; echo "E: Failed to fetch x"; exit 100')
    monkeypatch.setattr(module, "KEYRINGS", (__file__,))
    monkeypatch.setenv("VIRTIO_DEBIAN_ARCHIVE", "http://mirror.example/debian")
    with pytest.raises(ArtifactError, match="^Debian's archive did not give .* apt says: Failed to fetch x$"):
        get(tmp_path / "cache")
    assert not (tmp_path / "cache" / "artifacts.json").exists()


def test_a_filled_cache_needs_neither_apt_nor_network(tmp_path, tool):
    fill(tmp_path)
    found = get(tmp_path)
    assert found.prefix == Prefix(tmp_path / "prefix-1")
    assert found.kernels == {"6.1": Kernel("6.1", "6.1.0-1-cloud", "6.1.9-1", tmp_path / "kernel-1")}
    assert found.versions == {"qemu-system-x86": "1:11.1.3", "linux-image-1": "6.1.9-1"}


def test_python_is_there_for_those_who_ask_for_it(tmp_path, tool):
    fill(tmp_path)
    known = json.loads((tmp_path / "artifacts.json").read_text())
    (tmp_path / "python-1").mkdir()
    known[module.PYTHON] = {"path": "python-1", "versions": {}}
    (tmp_path / "artifacts.json").write_text(json.dumps(known))
    assert get(tmp_path).python is None
    assert artifacts(["6.1"], python=True, cache=tmp_path).python == Prefix(tmp_path / "python-1")
    (tmp_path / "python-1").rmdir()
    with pytest.raises(ArtifactError, match="this host has no apt-get"):
        artifacts(["6.1"], python=True, cache=tmp_path)


def test_what_went_missing_from_the_cache_is_fetched_again(tmp_path, tool):
    fill(tmp_path)
    (tmp_path / "kernel-1").rmdir()
    with pytest.raises(ArtifactError, match="this host has no apt-get"):
        get(tmp_path)


def test_a_description_that_was_cut_short_counts_as_none(tmp_path, tool):
    fill(tmp_path)
    (tmp_path / "artifacts.json").write_text('{"base": {"pa')
    with pytest.raises(ArtifactError, match="this host has no apt-get"):
        get(tmp_path)


def test_an_unpacking_that_is_interrupted_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with module._unpacking(tmp_path, "prefix") as directory:
            (directory / "half").write_text("")
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with module._unpacking(tmp_path, "prefix") as directory:
        (directory / "whole").write_text("")
    assert [path.name for path in (tmp_path / "prefix").iterdir()] == ["whole"]


def test_a_package_that_cannot_be_unpacked_is_not_kept(tmp_path, tool):
    tool("dpkg-deb", 'echo "unexpected end of file" >&2; exit 2')
    package = tmp_path / "tool_1_amd64.deb"
    package.write_bytes(b"half")
    with pytest.raises(
        ArtifactError, match=r"^tool_1_amd64\.deb cannot be unpacked: unexpected end of file$"
    ):
        module._unpack(package, tmp_path)
    assert not package.exists()


def test_an_unknown_kernel_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"^kernel 2\.6 is none of 6\.1, 6\.12, newest$"):
        get(tmp_path, "2.6")


@pytest.mark.parametrize("place", ["lib/modules", "usr/lib/modules"])
def test_a_kernel_is_found_wherever_its_package_puts_it(tmp_path, place):
    kernel = Kernel("6.1", "6.1.0-1", "6.1.9", tmp_path)
    with pytest.raises(ArtifactError, match="^the package of kernel 6.1.0-1 holds no kernel image$"):
        _ = kernel.image
    with pytest.raises(ArtifactError, match="^the package of kernel 6.1.0-1 holds no modules$"):
        _ = kernel.modules
    (tmp_path / place / "6.1.0-1" / "kernel").mkdir(parents=True)
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / "vmlinuz-6.1.0-1").write_bytes(b"")
    assert kernel.modules == tmp_path / place / "6.1.0-1"
    assert kernel.image == tmp_path / "boot" / "vmlinuz-6.1.0-1"


#: How Debian splits a kernel over packages: one until 6.12, several since 7.
MADISON = "m | 7.3-1 | http://mirror.example trixie-backports/main amd64 Packages"
META = "Depends: linux-base-cloud-amd64 (= 7.3-1), linux-image-7.3-cloud-amd64 (= 7.3-1), x (= 7.3-1)"
WHOLE = "Depends: kmod, linux-base (>= 4.3), initramfs-tools (>= 0.120) | linux-initramfs-tool"
PARTS = "Depends: dracut, " + ", ".join(f"linux-{x}-7.3-cloud-amd64 (= 7.3-1)" for x in ("binary", "modules"))


@pytest.mark.parametrize(
    "depends, packages",
    [
        (WHOLE, ["linux-image-7.3-cloud-amd64"]),
        (PARTS, [f"linux-{x}-7.3-cloud-amd64" for x in ("image", "binary", "modules")]),
    ],
)
def test_a_kernel_is_in_one_package_or_in_several(tmp_path, tool, monkeypatch, depends, packages):
    for name in ("apt-get", "dpkg", "dpkg-deb"):
        tool(name, "exit 0")
    answers = f'*madison*) echo "{MADISON}";; *linux-image-cloud*) echo "{META}";; *) echo "{depends}";;'
    tool("apt-cache", f'case "$*" in {answers} esac')
    monkeypatch.setattr(module, "KEYRINGS", (__file__,))
    monkeypatch.setenv("VIRTIO_DEBIAN_ARCHIVE", "http://mirror.example/debian")
    archive = module._Archive(tmp_path / "apt", lambda line: None)
    assert archive.kernel_packages("trixie-backports") == ("7.3-cloud-amd64", "7.3-1", packages)
    with pytest.raises(ArtifactError, match="^Debian's trixie has no linux-image-cloud-amd64$"):
        archive.kernel_packages("trixie")
