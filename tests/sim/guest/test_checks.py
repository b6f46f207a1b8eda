import gzip
import hashlib
import random

import pytest
from cocotbext.virtio.conformance import CaseResult, Facts
from virtio_sim.conformance.report import Report, RunResult
from virtio_sim.guest import checks
from virtio_sim.guest.checks import ROWS, CheckFailed, Context, Row
from virtio_sim.guest.console import Answer
from virtio_sim.guest.devices import Device
from virtio_sim.guest.image import ImageError, contents, scripts
from virtio_spec.virtio import DeviceType
from virtio_spec.virtio_pci import Interface

FACTS = {
    "vendor": "0x1af4",
    "device": "0x1042",
    "subsystem_device": "0x1100",
    "pci_driver": "virtio-pci",
    "virtio_driver": "virtio_blk",
    "status": "0x0000000f",
    "features": f"{'0' * 32}1{'0' * 31}",
    "interrupts": "25: 0 PCI-MSIX-0000:01:00.0 0-edge virtio0-config",
}
LEGACY = {"device": "0x1001", "subsystem_device": "0x0002", "status": "0x00000007", "features": "0" * 64}
MODERN_ROW = Row(Device("blk"), ())
LEGACY_ROW = Row(Device("blk", "transitional"), (), driver="legacy")


def context(row=MODERN_ROW, **more):
    return Context(row, more.pop("directory", None), **more)


def test_every_row_has_a_name_of_its_own_and_scripts_that_are_there():
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        for check in row.checks:
            assert not check.script or f"{check.script}.sh" in scripts()
            assert check.script or check.outside is not checks.after_the_end


def test_the_table_has_every_kind_of_device_driver_and_interrupt():
    found = {(row.device.kind, row.driver, row.interrupts, row.root) for row in ROWS}
    for driver in ("modern", "legacy"):
        for interrupts in ("msix", "intx"):
            assert ("rng", driver, interrupts, False) in found
            assert ("blk", driver, interrupts, True) in found
    queues = {(row.device.kind, row.device.ring, row.device.queues > 1) for row in ROWS}
    for kind in ("blk", "net"):
        for ring in ("split", "packed"):
            assert (kind, ring, True) in queues
            assert (kind, ring, False) in queues


@pytest.mark.parametrize(
    "row, name, append",
    [
        (Row(Device("rng"), ()), "rng", ""),
        (Row(Device("rng"), (), interrupts="intx"), "rng intx", "pci=nomsi"),
        (LEGACY_ROW, "blk transitional forced legacy", "virtio_pci.force_legacy=1"),
        (Row(Device("blk", "legacy"), (), driver="legacy"), "blk legacy", ""),
        (Row(Device("blk"), (), root=True, end="killed"), "blk root killed", "guest.root=1"),
        (Row(Device("blk"), (), root=True, peer=True), "blk root compared", "guest.root=1"),
    ],
)
def test_a_row_tells_the_kernel_what_to_do(row, name, append):
    assert (row.name, row.append) == (name, append)


@pytest.mark.parametrize(
    "row, facts",
    [
        (MODERN_ROW, FACTS),
        (LEGACY_ROW, FACTS | LEGACY),
        (
            Row(Device("blk"), (), interrupts="intx"),
            FACTS | {"interrupts": "22: 0 IO-APIC 22-fasteoi virtio0"},
        ),
        (Row(Device("blk", ring="packed"), ()), FACTS | {"features": f"{'0' * 32}101{'0' * 29}"}),
    ],
)
def test_a_device_that_is_what_the_row_says_passes(row, facts):
    assert checks.identity(context(row), Answer(facts=facts)) == {}


@pytest.mark.parametrize(
    "row, wrong, message",
    [
        (MODERN_ROW, {"vendor": "0x1af5"}, "the vendor is 6901, not 6900"),
        (MODERN_ROW, {"device": "0x1001"}, "the device is 4097, not 4162"),
        (MODERN_ROW, {"pci_driver": "vfio-pci"}, "the function's driver is vfio-pci, not virtio-pci"),
        (MODERN_ROW, {"virtio_driver": "virtio_rng"}, "the device's driver is virtio_rng, not virtio_blk"),
        (MODERN_ROW, {"features": "0" * 64}, "VIRTIO_F_VERSION_1 is 0, not 1"),
        (MODERN_ROW, {"features": f"{'0' * 32}101{'0' * 29}"}, "VIRTIO_F_RING_PACKED is 1, not 0"),
        (MODERN_ROW, {"status": "0x0000004f"}, "the status is 79, not 15"),
        (MODERN_ROW, {"interrupts": "22: 0 IO-APIC 22-fasteoi virtio0"}, "the kernel does not use msix: 22:"),
        (LEGACY_ROW, LEGACY | {"features": FACTS["features"]}, "VIRTIO_F_VERSION_1 is 1, not 0"),
        (LEGACY_ROW, LEGACY | {"subsystem_device": "0x1100"}, "the subsystem device is 4352, not 2"),
    ],
)
def test_a_device_that_is_not_what_the_row_says_fails(row, wrong, message):
    with pytest.raises(CheckFailed, match=f"^{message}"):
        checks.identity(context(row), Answer(facts=FACTS | wrong))


def entropy(data, source="virtio_rng.0"):
    answer = Answer(facts={"source": source}, data={"entropy": data}, marks={"begin": 1.0, "end": 3.0})
    return checks.entropy(context(), answer)


def test_noise_from_the_device_passes_with_its_rate():
    assert entropy(random.Random(1).randbytes(10_000)) == {"bytes_per_s": 5000}


def test_two_bad_blocks_are_too_many():
    noise = random.Random(1).randbytes(5000)
    with pytest.raises(CheckFailed, match="^2 of 4 blocks are not random; block 2: monobit: 0 ones$"):
        entropy(noise + bytes(5000))


def test_noise_from_elsewhere_does_not_count():
    with pytest.raises(CheckFailed, match=r"^/dev/hwrng is tpm-rng-0, not virtio_rng$"):
        entropy(random.Random(1).randbytes(10_000), "tpm-rng-0")


def test_speed_is_by_the_hosts_clock():
    said = {"random1": "requests 100 bytes 409600 ns 5", "sequential": "requests 8 bytes 1048576 ns 5"}
    marks = {"random1 begin": 1.0, "random1 end": 1.5, "sequential begin": 2.0, "sequential end": 4.0}
    figures = checks.speed(context(), Answer(facts=said, marks=marks))
    assert figures == {"random1_requests_per_s": 200.0, "sequential_mb_per_s": 0.52}


def test_a_load_that_stopped_at_an_error_has_no_speed():
    with pytest.raises(CheckFailed, match="^random1: read: Input/output error$"):
        checks.speed(context(), Answer(facts={"random1": "read: Input/output error"}))


@pytest.fixture
def disk(tmp_path):
    content = random.Random(2).randbytes(8 << 20)
    path = tmp_path / "disk.img"
    start = checks.WRITE_AT * 4096
    written = bytes(checks.WRITE_BLOCKS * 4096)
    path.write_bytes(content[:start] + written + content[start + len(written) :])
    notes = {"written": hashlib.sha256(written).hexdigest()}
    return context(image=path, disk=content, notes=notes, directory=tmp_path)


def change(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_an_image_with_what_was_written_passes(disk):
    assert checks.disk_outside(disk) == {}


@pytest.mark.parametrize(
    "offset, message",
    [
        (checks.WRITE_AT * 4096, "the sum of what was written is"),
        (checks.WRITE_AT * 4096 - 1, "the image changed where nothing was written"),
        ((checks.WRITE_AT + checks.WRITE_BLOCKS) * 4096, "the image changed where nothing was written"),
    ],
)
def test_a_bit_that_is_wrong_anywhere_in_the_image_fails(disk, offset, message):
    change(disk.image, offset)
    with pytest.raises(CheckFailed, match=f"^{message}"):
        checks.disk_outside(disk)


class Root:
    """In place of an image with a file system."""

    def __init__(self, found):
        self.files, self._found = contents(1), found

    def read(self, directory):
        return self._found

    def check(self):
        raise ImageError("e2fsck ended with 4: Inode 12 is wrong")

    recover = check


def written():
    """What the script's commands do, done here."""
    made = contents(1)
    copy = bytearray(made["files/0262144.bin"])
    copy[5000:9097] = made["files/0004097.bin"]
    found = dict(made)
    found["work/joined"] = b"".join(made[name] for name in sorted(made))
    found["work/copied"] = made["files/0100003.bin"]
    found["work/patched"] = bytes(copy)
    found["work/shortened"] = made["files/0065536.bin"][:777]
    found["work/again"] = b"again\n"
    for number in range(1, 50):
        found[f"work/many/{number}"] = b"file %d\n" % number
    found["work/many/last"] = b"file 50\n"
    return found


def test_files_as_the_guest_wrote_them_pass_and_those_of_a_crash_do_not_count(tmp_path):
    found = written() | {"work/busy/1": b"half"}
    root = Root(found)
    assert checks.files_outside(context(root=root, directory=tmp_path)) == {"files": len(found) - 1}


@pytest.mark.parametrize("name", ["work/patched", "files/0000001.bin", "work/many/last"])
def test_a_file_that_is_missing_changed_or_too_many_is_named(tmp_path, name):
    for found in (
        {key: value for key, value in written().items() if key != name},
        written() | {name: b"?"},
    ):
        with pytest.raises(CheckFailed, match=f"^1 files are not as the guest wrote them: {name}$"):
            checks.files_outside(context(root=Root(found), directory=tmp_path))
    with pytest.raises(CheckFailed, match="not as the guest wrote them: work/gone$"):
        checks.files_outside(context(root=Root(written() | {"work/gone": b""}), directory=tmp_path))


@pytest.mark.parametrize("judge", [checks.file_system, checks.journal])
def test_a_damaged_file_system_fails_in_the_words_of_its_tool(tmp_path, judge):
    with pytest.raises(CheckFailed, match="^e2fsck ended with 4: Inode 12 is wrong$"):
        judge(context(root=Root({}), directory=tmp_path))


NET_ROW = Row(Device("net", queues=2), ())


def test_every_queue_has_to_be_used():
    assert checks.queues(context(NET_ROW), Answer(facts={"input.0": "5", "input.1": "1"})) == {"queues": 2}
    with pytest.raises(CheckFailed, match="^the number of queues is 1, not 2$"):
        checks.queues(context(NET_ROW), Answer(facts={"input.0": "5"}))
    with pytest.raises(CheckFailed, match="^input.1 raised no interrupt$"):
        checks.queues(context(NET_ROW), Answer(facts={"input.0": "5", "input.1": "0"}))


def test_every_ping_has_to_come_back():
    checks.pinged(context(NET_ROW), Answer(facts={"small": "20 20", "full": "5 5"}))
    with pytest.raises(CheckFailed, match="^the number of answers to full is 4, not 5$"):
        checks.pinged(context(NET_ROW), Answer(facts={"small": "20 20", "full": "5 4"}))


def test_what_arrives_has_to_be_what_was_sent_both_ways():
    marks = {"there begin": 1.0, "there end": 3.0, "back begin": 3.0, "back end": 4.0}
    good = {"there": "aa aa 4000000", "back": "bb bb 4000000"}
    found = checks.transferred(context(NET_ROW), Answer(facts=good, marks=marks))
    assert found == {"there_mb_per_s": 2.0, "back_mb_per_s": 4.0}
    with pytest.raises(CheckFailed, match="^the sum of what went back is cc, not bb$"):
        checks.transferred(context(NET_ROW), Answer(facts={**good, "back": "bb cc 4000000"}, marks=marks))


FACTS_OF_RNG = Facts(DeviceType.ENTROPY, Interface.MODERN, 1 << 32, 1, 2)
PENDING = "msix.a_masked_vector_is_pending_until_it_is_unmasked"


def kit_said(tmp_path, provider, *results):
    """What the kit's check makes of a report from the guest."""
    made = Report()
    made.add(RunResult("vfio rng modern 0000:01:00.0", "vfio", "card rng", FACTS_OF_RNG, results))
    made.write(tmp_path / "inside.json")
    answer = Answer(data={"report": gzip.compress((tmp_path / "inside.json").read_bytes())})
    row = Row(Device("rng", iommu=True), ())
    return checks.kit_content(context(row, directory=tmp_path, provider=provider), answer)


def result(case, message=""):
    return CaseResult(case, "modern natural split", ("RESET-DEV-01",), message)


def test_the_kits_report_is_kept_and_counted(tmp_path):
    assert kit_said(tmp_path, "rtl", result("common.a"), result("common.b")) == {"cases": 2, "deviating": 0}
    assert Report.read(tmp_path / "conformance.json").runs


def test_what_is_known_of_qemu_is_no_failure_and_nothing_else(tmp_path):
    known = result("common.a_feature_not_offered_is_refused", "wrong")
    assert kit_said(tmp_path, "qemu", known) == {"cases": 1, "deviating": 1}
    assert kit_said(tmp_path, "rtl", result(PENDING, "wrong")) == {"cases": 1, "deviating": 1}
    for provider, found in (("rtl", known), ("qemu", result(PENDING, "wrong"))):
        with pytest.raises(CheckFailed, match=r"^1 of 1 cases failed: \S+ \(modern natural split\): wrong$"):
            kit_said(tmp_path, provider, found)


def test_a_kit_that_ran_nothing_or_made_no_report_has_failed(tmp_path):
    with pytest.raises(CheckFailed, match="^0 of 0 cases failed$"):
        kit_said(tmp_path, "rtl")
    with pytest.raises(CheckFailed, match="^the kit made no report: bind it first$"):
        checks.kit_content(context(directory=tmp_path), Answer(said=["bind it first"]))


def test_of_qemus_devices_the_kit_knows_that_they_are_no_cards():
    assert checks.known_of_qemu(context(provider="rtl")) == ()
    assert "card" in checks.known_of_qemu(context(provider="qemu"))
