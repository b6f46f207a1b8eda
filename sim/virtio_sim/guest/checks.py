"""The table: which devices are booted how, and what is asked of each.

A :class:`Row` is one boot. Its checks are run in order; each is a script of ``scripts/`` and a judge of
what that said, so what decides is computed here, from what the row asked for, and not in the guest. A
further device, ring or driver is a further row.
"""

import gzip
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cocotbext.virtio.conformance.deviations import Deviation, Known, deviations
from virtio_spec.virtio import DeviceStatus, DeviceType, Feature
from virtio_spec.virtio_pci import MODERN_DEVICE_ID_BASE, TRANSITIONAL_DEVICE_IDS, VENDOR_ID

from ..conformance.report import Report
from . import fips
from .console import Answer
from .devices import Device, QemuProvider
from .image import FILE_SIZES, ImageError, RootImage

__all__ = ["ROWS", "Check", "CheckFailed", "Context", "Figures", "Row"]

#: Numbers worth keeping, by name; the unit is the end of the name.
Figures = dict[str, float]

KIB, MIB = 1 << 10, 1 << 20
#: Blocks for the tests of FIPS 140-2, and how many of them a good source may fail now and then.
ENTROPY_BLOCKS, ENTROPY_FAILURES = 4, 1
DISK_BYTES = 16 * MIB
#: Where ``write.sh`` writes, in blocks of 4 KiB.
WRITE_BLOCKS, WRITE_AT = 64, 1000
#: What goes through a network device in each direction.
BULK_BYTES = 2 * MIB


class CheckFailed(Exception):
    """What was found is not what has to be; the message says both."""


@dataclass(frozen=True)
class Row:
    """One boot: the device, which of the kernel's drivers takes it, how it interrupts, and the checks.

    ``driver`` is ``"modern"`` or ``"legacy"``, ``interrupts`` is ``"msix"`` or ``"intx"``; with ``root`` the
    guest's root file system is on the device; with ``peer`` QEMU's own device of the same kind, its disk
    filled with noise, stands beside it. ``end`` says how the guest ends: ``"off"``, ``"killed"`` with QEMU,
    or in a ``"panic"``. ``kernels`` are those it is for, all of them without any.
    """

    device: Device
    checks: tuple["Check", ...]
    driver: str = "modern"
    interrupts: str = "msix"
    root: bool = False
    peer: bool = False
    end: str = "off"
    kernels: tuple[str, ...] = ()

    @property
    def forced(self) -> bool:
        """Whether the kernel has to be told to take its legacy driver."""
        return self.driver == "legacy" and self.device.interface != "legacy"

    @property
    def name(self) -> str:
        """For reports and for choosing rows."""
        words = [str(self.device)]
        words += ["forced legacy"] if self.forced else []
        words += ["intx"] if self.interrupts == "intx" else []
        words += ["root"] if self.root else []
        words += ["compared"] if self.peer else []
        words += ["vfio"] if self.device.iommu else []
        words += [self.end] if self.end != "off" else []
        return " ".join(words)

    @property
    def append(self) -> str:
        """The kernel's command line."""
        words = ["virtio_pci.force_legacy=1"] if self.forced else []
        words += ["pci=nomsi"] if self.interrupts == "intx" else []
        words += ["guest.root=1"] if self.root else []
        # On a busy host the timer may seem to stand still, which with remapped interrupts is a panic.
        words += ["intel_iommu=on no_timer_check"] if self.device.iommu else []
        return " ".join(words)


@dataclass
class Context:
    """What a judge knows: the row, whose device it is, the disk as it was made, what earlier checks noted."""

    row: Row
    directory: Path
    disk: bytes = b""
    image: Path | None = None
    root: RootImage | None = None
    provider: str = ""
    notes: dict[str, str] = field(default_factory=dict)


def nothing_more(context: Context, answer: Answer) -> Figures:
    """The script's own word is enough."""
    return {}


def nothing_known(context: Context) -> tuple[str, ...]:
    """No further arguments."""
    return ()


def after_the_end(context: Context) -> Figures:
    """Nothing to see outside."""
    return {}


@dataclass(frozen=True)
class Check:
    """One thing to find out.

    ``script`` runs in the guest with ``arguments`` for ``deadline`` seconds at most and ``judge`` raises
    :class:`CheckFailed` unless it is content; without a script, ``outside`` is called when the guest is off.
    ``more`` are further arguments. ``noise`` matches what the kernel may complain of meanwhile. With ``peer``
    it is about QEMU's own device.
    """

    name: str
    script: str = ""
    arguments: tuple[str, ...] = ()
    judge: Callable[[Context, Answer], Figures] = nothing_more
    outside: Callable[[Context], Figures] = after_the_end
    deadline: float = 120.0
    more: Callable[[Context], tuple[str, ...]] = nothing_known
    noise: str = ""
    peer: bool = False


def _expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise CheckFailed(f"{what} is {found}, not {expected}")


def identity(context: Context, answer: Answer) -> Figures:
    """The function is what the row asked for, and the kernel drives it the way the row asked for."""
    row, facts = context.row, answer.facts
    kind = {"rng": DeviceType.ENTROPY, "blk": DeviceType.BLOCK, "net": DeviceType.NET}[row.device.kind]
    modern = row.device.interface == "modern"
    _expect("the vendor", int(facts["vendor"], 16), VENDOR_ID)
    number = MODERN_DEVICE_ID_BASE + kind if modern else TRANSITIONAL_DEVICE_IDS[kind]
    _expect("the device", int(facts["device"], 16), number)
    if not modern:
        _expect("the subsystem device", int(facts["subsystem_device"], 16), int(kind))
    _expect("the function's driver", facts["pci_driver"], "virtio-pci")
    _expect("the device's driver", facts["virtio_driver"], f"virtio_{row.device.kind}")
    _expect(
        "VIRTIO_F_VERSION_1", facts["features"][Feature.VERSION_1], "1" if row.driver == "modern" else "0"
    )
    _expect(
        "VIRTIO_F_RING_PACKED",
        facts["features"][Feature.RING_PACKED],
        "1" if row.device.ring == "packed" else "0",
    )
    status = DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER | DeviceStatus.DRIVER_OK
    if row.driver == "modern":
        status |= DeviceStatus.FEATURES_OK
    _expect("the status", int(facts["status"], 16), int(status))
    by_message = "MSI" in facts["interrupts"]
    if by_message != (row.interrupts == "msix") or (not by_message and "IO-APIC" not in facts["interrupts"]):
        raise CheckFailed(f"the kernel does not use {row.interrupts}: {facts['interrupts']}")
    return {}


def entropy(context: Context, answer: Answer) -> Figures:
    """The bytes pass for random, and the device's driver gave them."""
    data = answer.data["entropy"]
    if "virtio_rng" not in answer.facts["source"]:
        raise CheckFailed(f"/dev/hwrng is {answer.facts['source']}, not virtio_rng")
    _expect("the number of bytes", len(data), ENTROPY_BLOCKS * fips.BLOCK_BYTES)
    failed = {
        number: failures
        for number in range(ENTROPY_BLOCKS)
        if (failures := fips.failures(data[number * fips.BLOCK_BYTES :][: fips.BLOCK_BYTES]))
    }
    if len(failed) > ENTROPY_FAILURES:
        block, reasons = next(iter(failed.items()))
        raise CheckFailed(
            f"{len(failed)} of {ENTROPY_BLOCKS} blocks are not random; block {block}: {reasons[0]}"
        )
    return {"bytes_per_s": round(len(data) / answer.between("begin", "end"))}


def raised(context: Context, answer: Answer) -> Figures:
    """How many interrupts there were."""
    return {"interrupts": int(answer.facts["after"]) - int(answer.facts["before"])}


def queues(context: Context, answer: Answer) -> Figures:
    """Every queue was used, and raised interrupts of its own."""
    raised = {name: int(said) for name, said in answer.facts.items()}
    _expect("the number of queues", len(raised), context.row.device.queues)
    if idle := [name for name, count in raised.items() if not count]:
        raise CheckFailed(f"{', '.join(idle)} raised no interrupt")
    return {"queues": len(raised)}


def pinged(context: Context, answer: Answer) -> Figures:
    """Every ping came back."""
    for name, said in answer.facts.items():
        sent, received = map(int, said.split())
        _expect(f"the number of answers to {name}", received, sent)
    return {}


def transferred(context: Context, answer: Answer) -> Figures:
    """What arrived is what was sent, in both directions."""
    figures: Figures = {}
    for way in ("there", "back"):
        sent, arrived, size = answer.facts[way].split()
        _expect(f"the sum of what went {way}", arrived, sent)
        seconds = answer.between(f"{way} begin", f"{way} end")
        figures[f"{way}_mb_per_s"] = round(int(size) / seconds / 1e6, 3)
    return figures


def digest(context: Context, answer: Answer) -> Figures:
    """The guest sees the disk as it was made."""
    _expect("the capacity in sectors", int(answer.facts["sectors"]), len(context.disk) // 512)
    _expect("the disk's sum", answer.facts["sha256"], hashlib.sha256(context.disk).hexdigest())
    return {"mb_per_s": round(len(context.disk) / answer.between("begin", "end") / 1e6, 2)}


def speed(context: Context, answer: Answer) -> Figures:
    """Requests and bytes per second of the host's time."""
    figures: Figures = {}
    for name, said in answer.facts.items():
        match = re.fullmatch(r"requests (\d+) bytes (\d+) ns (\d+)", said)
        if match is None:
            raise CheckFailed(f"{name}: {said}")
        seconds = answer.between(f"{name} begin", f"{name} end")
        if name == "sequential":
            figures["sequential_mb_per_s"] = round(int(match[2]) / seconds / 1e6, 2)
        else:
            figures[f"{name}_requests_per_s"] = round(int(match[1]) / seconds, 1)
    return figures


def note_written(context: Context, answer: Answer) -> Figures:
    """Remember what the guest wrote."""
    context.notes["written"] = answer.facts["sha256"]
    return {}


def disk_outside(context: Context) -> Figures:
    """The image has what the guest wrote where it wrote it, and is the same everywhere else."""
    assert context.image is not None
    start, end = WRITE_AT * 4 * KIB, (WRITE_AT + WRITE_BLOCKS) * 4 * KIB
    found = context.image.read_bytes()
    _expect("the size of the image", len(found), len(context.disk))
    if "written" not in context.notes:
        raise CheckFailed("the guest wrote nothing")
    _expect(
        "the sum of what was written", hashlib.sha256(found[start:end]).hexdigest(), context.notes["written"]
    )
    if found[:start] != context.disk[:start] or found[end:] != context.disk[end:]:
        raise CheckFailed("the image changed where nothing was written")
    return {}


def files_read(context: Context, answer: Answer) -> Figures:
    """All files that were made were compared."""
    _expect("the number of files", int(answer.facts["files"]), len(FILE_SIZES))
    size = sum(FILE_SIZES)
    return {"mb_per_s": round(size / answer.between("begin", "end") / 1e6, 2)}


def file_system(context: Context) -> Figures:
    """e2fsck finds nothing."""
    assert context.root is not None
    try:
        context.root.check()
    except ImageError as error:
        raise CheckFailed(str(error)) from None
    return {}


def journal(context: Context) -> Figures:
    """The journal puts the file system in order, and nothing else has to."""
    assert context.root is not None
    try:
        context.root.recover()
    except ImageError as error:
        raise CheckFailed(str(error)) from None
    return {}


def expected_files(made: dict[str, bytes]) -> dict[str, bytes]:
    """What ``writefiles.sh`` leaves behind, computed from what it started with."""
    patched = bytearray(made["files/0262144.bin"])
    patched[5000 : 5000 + 4097] = made["files/0004097.bin"]
    many = {f"work/many/{number}": f"file {number}\n".encode() for number in range(1, 50)}
    return {
        **made,
        **many,
        "work/many/last": b"file 50\n",
        "work/joined": b"".join(made[name] for name in sorted(made)),
        "work/copied": made["files/0100003.bin"],
        "work/patched": bytes(patched),
        "work/shortened": made["files/0065536.bin"][:777],
        "work/again": b"again\n",
    }


def files_outside(context: Context) -> Figures:
    """The image, read without the guest, holds the files that were made and those that were written."""
    assert context.root is not None
    try:
        found = context.root.read(context.directory / "files")
    except ImageError as error:
        raise CheckFailed(str(error)) from None
    found = {name: content for name, content in found.items() if not name.startswith("work/busy/")}
    expected = expected_files(context.root.files)
    wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if wrong:
        raise CheckFailed(f"{len(wrong)} files are not as the guest wrote them: {', '.join(wrong[:5])}")
    return {"files": len(found)}


#: Cases that find QEMU, the client of a vfio-user server, in place of the device.
THROUGH_VFIO_USER = tuple(
    Deviation("rng", case, "*", "", "11.1", "QEMU masks vectors itself, and does not tell the device.")
    for case in (
        "msix.a_masked_vector_is_pending_until_it_is_unmasked",
        "msix.a_reset_forgets_what_was_pending",
    )
)


def known_of_qemu(context: Context) -> tuple[str, ...]:
    """What the kit is told of QEMU's devices, which are no cards."""
    missing = ("mixed", "write_flag", "card") if context.provider == QemuProvider.name else ()
    return tuple(word for ability in missing for word in ("--without", ability))


def kit_content(context: Context, answer: Answer) -> Figures:
    """The kit's own report: no case failed, but for what is known of QEMU, be it the device or between."""
    if "report" not in answer.data:
        raise CheckFailed(f"the kit made no report: {answer.said[-1] if answer.said else 'it said nothing'}")
    path = context.directory / "conformance.json"
    path.write_bytes(gzip.decompress(answer.data["report"]))
    (run,) = Report.read(path).runs.values()
    rows = deviations() if context.provider == QemuProvider.name else THROUGH_VFIO_USER
    known = Known(context.row.device.kind, context.row.device.interface, rows)
    results = [known.judge(result) for result in run.cases]
    failed = [result for result in results if not result.passed]
    if failed or not results:
        first = f": {failed[0].case} ({failed[0].driver}): {failed[0].message}" if failed else ""
        raise CheckFailed(f"{len(failed)} of {len(results)} cases failed{first}")
    return {"cases": len(results), "deviating": sum(bool(result.known) for result in results)}


ENTROPY = Check("entropy", "entropy", (str(ENTROPY_BLOCKS * fips.BLOCK_BYTES),), entropy)
IDENTITY = Check("identity", "identity", (), identity)
INTERRUPTS = Check("interrupts", "interrupts", (), raised)
DIGEST = Check("read the disk", "digest", (), digest)
SPEED = Check("speed", "speed", ("own", "1000", "16", "64"), speed)
PEER_SPEED = Check("speed", "speed", ("peer", *SPEED.arguments[1:]), speed, peer=True)
GONE = r"I/O error, dev vda"
#: Driver and device part and meet again, in every way there is.
PARTINGS = (
    Check("rebind the device", "rebind", ("3", "virtio")),
    Check("rebind the function", "rebind", ("3", "pci")),
    Check("reload the driver", "reload", ("3",), noise=GONE),
    Check("unbind under load", "underload", ("3", "2"), noise=GONE),
    Check("function level reset", "flr"),
)
WRITE = Check("write", "write", (str(WRITE_BLOCKS), str(WRITE_AT)), note_written)
DISK = Check("the image outside", outside=disk_outside)

RNG = (
    IDENTITY,
    ENTROPY,
    INTERRUPTS,
    *PARTINGS,
    Check("entropy at the end", "entropy", ENTROPY.arguments, entropy),
)
QUEUES = Check("queues", "queues", (), queues)
#: The kit in the guest: what a simulated processor gets through in the time of a row.
KIT = Check(
    "conformance",
    "vfio",
    ("--patience", "0.1", "--variant", "split", "--variant", "packed-indirect-event"),
    kit_content,
    more=known_of_qemu,
    deadline=600.0,
)
NET = (
    IDENTITY,
    Check("ping", "ping", (), pinged),
    INTERRUPTS,
    Check("bulk transfer", "bulk", (str(BULK_BYTES),), transferred, deadline=300.0),
    Check("rebind the device", "rebind", ("2", "virtio")),
    Check("rebind the function", "rebind", ("2", "pci")),
    Check("function level reset", "flr"),
    Check("ping at the end", "ping", (), pinged),
)
BLK = (IDENTITY, DIGEST, INTERRUPTS, SPEED, *PARTINGS, DIGEST, WRITE, DISK)
ROOT = (
    IDENTITY,
    Check("read every file", "files", (), files_read),
    INTERRUPTS,
    Check("write, sync, remount", "writefiles"),
    Check("read every file again", "files", (), files_read),
    SPEED,
    Check("e2fsck outside", outside=file_system),
    Check("files outside", outside=files_outside),
)
#: Two disks in one guest, measured in the same way one after the other.
COMPARED = (IDENTITY, SPEED, PEER_SPEED)
#: What was synced before the end is there afterwards, whatever was under way.
CRASH = (
    IDENTITY,
    Check("write, sync, remount", "writefiles"),
    Check("writers at work", "busy"),
    Check("journal outside", outside=journal),
    Check("files outside", outside=files_outside),
)

#: All boots.
ROWS = (
    Row(Device("rng"), RNG),
    Row(Device("rng"), RNG, interrupts="intx"),
    Row(Device("rng", ring="packed"), RNG),
    Row(Device("rng", ring="packed", iommu=True), (KIT,), kernels=("6.12",)),
    Row(Device("rng", "transitional"), RNG),
    Row(Device("rng", "transitional"), RNG, driver="legacy"),
    Row(Device("rng", "transitional"), RNG, driver="legacy", interrupts="intx"),
    Row(Device("rng", "legacy"), RNG, driver="legacy"),
    Row(Device("net"), NET),
    Row(Device("net"), NET, interrupts="intx"),
    Row(Device("net", ring="packed"), NET),
    Row(Device("net", queues=2), (*NET, QUEUES)),
    Row(Device("net", ring="packed", queues=2), (*NET, QUEUES)),
    Row(Device("blk"), BLK),
    Row(Device("blk", queues=4), (*BLK, QUEUES)),
    Row(Device("blk", ring="packed", queues=4), (*BLK, QUEUES)),
    Row(Device("blk"), BLK, interrupts="intx"),
    Row(Device("blk", "transitional"), BLK, driver="legacy"),
    Row(Device("blk"), ROOT, root=True),
    Row(Device("blk"), ROOT, interrupts="intx", root=True),
    Row(Device("blk", ring="packed"), ROOT, root=True),
    Row(Device("blk", "transitional"), ROOT, root=True),
    Row(Device("blk", "transitional"), ROOT, driver="legacy", root=True),
    Row(Device("blk", "transitional"), ROOT, driver="legacy", interrupts="intx", root=True),
    Row(Device("blk", "legacy"), ROOT, driver="legacy", root=True),
    Row(Device("blk"), COMPARED, root=True, peer=True),
    Row(Device("blk"), CRASH, root=True, end="killed"),
    Row(Device("blk"), CRASH, root=True, end="panic"),
)
