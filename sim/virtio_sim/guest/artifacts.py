"""What a guest is made of, from Debian's archive: QEMU, kernels, busybox, the tools of ext4, Python.

Everything is fetched by the host's own apt, in a root of its own, so that mirrors, proxies and credentials
are those of the host, and apt checks signatures and sums; then it is unpacked into a private prefix, whose
programs run through the prefix's own dynamic loader. The host's packages and apt's state are not touched.

What was brought is described in ``artifacts.json``, written last: as long as that stands, no network is
needed.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..build import build_root, locked

__all__ = [
    "KERNELS",
    "PYTHON",
    "ArtifactError",
    "Artifacts",
    "Kernel",
    "Prefix",
    "archive_of",
    "artifacts",
    "cache_root",
]

#: Kernels by the name they are asked for: the release of Debian whose cloud kernel is meant. A release
#: keeps its series; which version of it there is today, is recorded.
KERNELS = {"6.1": "bookworm", "6.12": "trixie", "newest": "trixie-backports"}

#: The version of QEMU this was written with, then its series, then whatever the backports hold.
QEMU_VERSIONS = ("1:11.1.3+*", "1:11.1.*")

RELEASES = ("bookworm", "trixie", "trixie-backports")
CODENAMES = (
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldstable",
    "stable",
    "testing",
    "unstable",
)
KEYRINGS = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
)
META_PACKAGE = "linux-image-cloud-amd64"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
#: Python as Debian 13 has it, for guests that run the kit themselves.
PYTHON = "python3.13"

Say = Callable[[str], None]


class ArtifactError(Exception):
    """Something is missing and cannot be had; the message says what, in one sentence."""


@dataclass(frozen=True)
class Kernel:
    """A kernel as its package has it: ``series`` as asked for, ``release`` as it calls itself."""

    series: str
    release: str
    version: str
    tree: Path

    @property
    def image(self) -> Path:
        """What QEMU boots."""
        for path in (f"boot/vmlinuz-{self.release}", f"usr/lib/modules/{self.release}/vmlinuz"):
            if (self.tree / path).is_file():
                return self.tree / path
        raise ArtifactError(f"the package of kernel {self.release} holds no kernel image")

    @property
    def modules(self) -> Path:
        """Directory of its modules."""
        for path in (f"lib/modules/{self.release}", f"usr/lib/modules/{self.release}"):
            if (self.tree / path / "kernel").is_dir():
                return self.tree / path
        raise ArtifactError(f"the package of kernel {self.release} holds no modules")


@dataclass(frozen=True)
class Prefix:
    """Programs of another Debian release, run with that release's libraries."""

    path: Path

    def command(self, program: str) -> list[str]:
        """How to start ``program``, a path below the prefix."""
        libraries = self.path / LIBRARIES
        loader = libraries / "ld-linux-x86-64.so.2"
        name = Path(program).name
        return [str(loader), "--argv0", name, "--library-path", str(libraries), str(self.path / program)]

    def qemu(self) -> list[str]:
        """``qemu-system-x86_64`` with the paths of its firmware."""
        firmware = [self.path / part for part in ("usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu")]
        paths = [word for directory in firmware for word in ("-L", str(directory))]
        return [*self.command("usr/bin/qemu-system-x86_64"), *paths]

    @property
    def environment(self) -> dict[str, str]:
        """The environment its programs expect."""
        return {
            **os.environ,
            "QEMU_MODULE_DIR": str(self.path / LIBRARIES / "qemu"),
            "MKE2FS_CONFIG": str(self.path / "etc/mke2fs.conf"),
        }


@dataclass(frozen=True)
class Artifacts:
    """All there is to boot; ``versions`` by package, for the report. ``python`` is a tree, if asked for."""

    prefix: Prefix
    busybox: Path
    kernels: dict[str, Kernel]
    versions: dict[str, str]
    python: Prefix | None = None


def cache_root() -> Path:
    """``VIRTIO_CACHE`` if that is set, else ``build/guest/cache``."""
    return Path(os.environ.get("VIRTIO_CACHE") or build_root() / "guest" / "cache").absolute()


def artifacts(
    kernels: Sequence[str],
    *,
    python: bool = False,
    cache: Path | None = None,
    refresh: bool = False,
    say: Say = print,
) -> Artifacts:
    """Bring what ``kernels`` (keys of :data:`KERNELS`) need, or find it in the cache.

    ``python`` is for guests with an interpreter, :data:`PYTHON`. ``refresh`` asks the archive again for newer
    versions. ``say`` gets one line for each step.
    """
    for series in kernels:
        if series not in KERNELS:
            raise ArtifactError(f"kernel {series} is none of {', '.join(KERNELS)}")
    root = cache if cache is not None else cache_root()
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / "lock"):
        known = {} if refresh else _read(root / "artifacts.json")
        wanted = ("base", *kernels, *([PYTHON] if python else []))
        missing = [name for name in wanted if not _is_there(root, known.get(name))]
        if missing:
            archive = _Archive(root / "apt", say)
            archive.update()
            for name in missing:
                known[name] = _PARTS.get(name, _kernel)(archive, root, name)
                _write(root / "artifacts.json", known)
        base = known["base"]
        found = {name: known[name] for name in kernels}
        return Artifacts(
            Prefix(root / base["path"]),
            root / base["path"] / "usr/bin/busybox",
            {
                name: Kernel(name, entry["release"], entry["version"], root / entry["path"])
                for name, entry in found.items()
            },
            {**base["versions"], **{entry["package"]: entry["version"] for entry in found.values()}},
            Prefix(root / known[PYTHON]["path"]) if python else None,
        )


def archive_of(uris: str) -> str | None:
    """The archive of Debian among what ``apt-get --print-uris update`` prints, if there is one."""
    for address, suite in re.findall(r"'(\S+?)/dists/([\w./-]+)/InRelease'", uris):
        if suite.removesuffix("-updates").removesuffix("-backports") in CODENAMES:
            return address
    return None


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def _write(path: Path, content: dict) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content, indent=2) + "\n")
    new.rename(path)


def _is_there(root: Path, entry: dict | None) -> bool:
    return entry is not None and (root / entry["path"]).is_dir()


class _Archive:
    """apt with sources, lists and cache of its own; the host's configuration otherwise."""

    def __init__(self, root: Path, say: Say):
        for tool in ("apt-get", "apt-cache", "dpkg", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise ArtifactError(
                    f"the guest's parts come from Debian's archive, and this host has no {tool}"
                )
        self.root, self.say = root, say
        for part in ("etc/preferences.d", "etc/sources.d", "lists/partial", "archives/partial", "dpkg"):
            (root / part).mkdir(parents=True, exist_ok=True)
        (root / "dpkg/status").touch()
        keyring = next((path for path in KEYRINGS if Path(path).is_file()), None)
        if keyring is None:
            raise ArtifactError(
                "apt cannot check signatures: package debian-archive-keyring is not installed"
            )
        address = os.environ.get("VIRTIO_DEBIAN_ARCHIVE") or archive_of(self._host_sources())
        if address is None:
            raise ArtifactError(
                "this host's apt names no archive of Debian; set VIRTIO_DEBIAN_ARCHIVE to the address of one"
            )
        lines = [f"deb [arch=amd64 signed-by={keyring}] {address} {release} main" for release in RELEASES]
        (root / "etc/sources.list").write_text("\n".join(lines) + "\n")
        pins = [f"Package: src:qemu\nPin: version {version}\n" for version in QEMU_VERSIONS]
        pins.append("Package: src:qemu\nPin: release n=trixie-backports\n")
        preferences = [f"{pin}Pin-Priority: {995 - rank}\n" for rank, pin in enumerate(pins)]
        (root / "etc/preferences").write_text("\n".join(preferences))

    @staticmethod
    def _host_sources() -> str:
        command = ["apt-get", "--print-uris", "update"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def _options(self) -> list[str]:
        settings = {
            "Dir::Etc::sourcelist": self.root / "etc/sources.list",
            "Dir::Etc::sourceparts": self.root / "etc/sources.d",
            "Dir::Etc::preferences": self.root / "etc/preferences",
            "Dir::Etc::preferencesparts": self.root / "etc/preferences.d",
            "Dir::State": self.root,
            "Dir::State::lists": self.root / "lists",
            "Dir::State::status": self.root / "dpkg/status",
            "Dir::Cache": self.root,
            "Dir::Cache::archives": self.root / "archives",
            "APT::Architecture": "amd64",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "",
            "APT::Keep-Downloaded-Packages": "true",
            "Binary::apt-get::APT::Keep-Downloaded-Packages": "true",
            "APT::Update::Error-Mode": "any",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        words = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        # What the host has apt do after an update or a download concerns the host only.
        hooks = ("APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success", "DPkg::Post-Invoke")
        cleared = [f"#clear {name};" for name in hooks]
        (self.root / "etc/apt.conf").write_text("\n".join(cleared) + "\n")
        return ["-c", str(self.root / "etc/apt.conf"), *words]

    def _run(self, tool: str, *arguments: str, cwd: Path | None = None) -> str:
        command = [tool, *self._options(), *arguments]
        environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
        lines = []
        with subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip())
                if match := re.match(r"Get:\d+ \S+ \S+ (.*)", line):
                    self.say(f"fetching {match[1]}")
        if process.returncode:
            errors = [line.removeprefix("E: ") for line in lines if line.startswith("E: ")]
            reason = errors[0] if errors else f"{tool} ended with {process.returncode}"
            raise ArtifactError(
                f"Debian's archive did not give what the guest needs, is there no network? apt says: {reason}"
            )
        return "\n".join(lines)

    def update(self) -> None:
        """Bring the lists up to date."""
        self.say("asking Debian's archive what it has")
        self._run("apt-get", "update")

    def with_dependencies(self, *packages: str) -> list[Path]:
        """Packages and all they depend on, as files."""
        install = ("install", "-t", "trixie-backports", *packages)
        planned = self._run("apt-get", "-s", *install)
        wanted = dict(re.findall(r"^Inst (\S+) \(([^ )]+)", planned, re.MULTILINE))
        self._run("apt-get", "-y", "--download-only", *install)
        return [self._file(name.partition(":")[0], version) for name, version in sorted(wanted.items())]

    def _file(self, name: str, version: str) -> Path:
        escaped = version.replace(":", "%3a")
        for architecture in ("amd64", "all"):
            path = self.root / "archives" / f"{name}_{escaped}_{architecture}.deb"
            if path.is_file():
                return path
        raise ArtifactError(f"apt did not download {name} {version}")

    def kernel_packages(self, release: str) -> tuple[str, str, list[str]]:
        """Of the cloud kernel of a release of Debian: its name, its version, the packages it is in."""
        table = self._run("apt-cache", "madison", META_PACKAGE)
        versions = re.findall(rf"\| *(\S+) \| \S+ {re.escape(release)}/main ", table)
        if not versions:
            raise ArtifactError(f"Debian's {release} has no {META_PACKAGE}")
        shown = self._run("apt-cache", "show", f"{META_PACKAGE}={versions[0]}")
        match = re.search(r"^Depends:.*\blinux-image-(\S+-cloud-amd64) ", shown, re.MULTILINE)
        if match is None:
            raise ArtifactError(f"{META_PACKAGE} {versions[0]} does not say which kernel it means")
        image = f"linux-image-{match[1]}"
        shown = self._run("apt-cache", "show", f"{image}={versions[0]}")
        parts = re.findall(rf"\blinux-(?:base|binary|modules)-{re.escape(match[1])}(?= )", shown)
        return match[1], versions[0], [image, *dict.fromkeys(parts)]

    def alone(self, package: str, version: str) -> Path:
        """One package without what it depends on, as a file."""
        with tempfile.TemporaryDirectory(dir=self.root) as directory:
            self._run("apt-get", "download", f"{package}={version}", cwd=Path(directory))
            (found,) = Path(directory).glob("*.deb")
            kept = self.root / "archives" / found.name
            found.rename(kept)
        return kept


@contextlib.contextmanager
def _unpacking(root: Path, name: str) -> Iterator[Path]:
    """A new directory that becomes ``root/name`` when the block ends well."""
    new = Path(tempfile.mkdtemp(dir=root, prefix=f"{name}.new-"))
    try:
        yield new
        if not (root / name).exists():
            new.chmod(0o755)
            new.rename(root / name)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _unpack(package: Path, directory: Path) -> None:
    command = ["dpkg-deb", "-x", str(package), str(directory)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        package.unlink(missing_ok=True)
        raise ArtifactError(f"{package.name} cannot be unpacked: {result.stderr.strip()}")


def _digest(packages: Sequence[Path]) -> str:
    return hashlib.sha256("\n".join(path.name for path in packages).encode()).hexdigest()[:12]


def _base(archive: _Archive, root: Path, name: str) -> dict:
    archive.say("fetching QEMU, the tools of ext4, and busybox")
    return _prefix(archive, root, "prefix", ("qemu-system-x86", "e2fsprogs", "busybox-static"))


def _python(archive: _Archive, root: Path, name: str) -> dict:
    archive.say("fetching Python for guests")
    return _prefix(archive, root, PYTHON, (f"{PYTHON}-minimal", f"lib{PYTHON}-stdlib"))


def _prefix(archive: _Archive, root: Path, kind: str, wanted: Sequence[str]) -> dict:
    packages = archive.with_dependencies(*wanted)
    name = f"{kind}-{_digest(packages)}"
    archive.say(f"unpacking {len(packages)} packages")
    with _unpacking(root, name) as directory:
        for package in packages:
            _unpack(package, directory)
    parts = [path.stem.split("_") for path in packages]
    versions = {part[0]: part[1].replace("%3a", ":") for part in parts if part[0] in wanted}
    return {"path": name, "versions": versions}


def _kernel(archive: _Archive, root: Path, series: str) -> dict:
    release, version, packages = archive.kernel_packages(KERNELS[series])
    archive.say(f"fetching kernel {release}")
    files = [archive.alone(package, version) for package in packages]
    name = f"kernel-{release}-{_digest(files)}"
    with _unpacking(root, name) as directory:
        for file in files:
            _unpack(file, directory)
    return {"path": name, "release": release, "version": version, "package": packages[0]}


#: Parts that are no kernel.
_PARTS = {"base": _base, PYTHON: _python}
