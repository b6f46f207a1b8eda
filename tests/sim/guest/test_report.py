import io
import json

from rich.console import Console
from virtio_sim.guest.report import Result, ratios, table, write_report

RESULTS = [
    Result("6.1", "qemu", "blk root", "boot", "passed", 4.25, {"boot_s": 4.25}),
    Result(
        "6.1", "qemu", "blk root", "speed", "passed", 2.0,
        {"random1_requests_per_s": 1500.5, "random16_requests_per_s": 9123.4, "sequential_mb_per_s": 210.48},
    ),
    Result("6.1", "rtl", "rng transitional forced legacy intx", "entropy", "failed", 1.5, {}, "not random"),
]  # fmt: skip


def test_the_report_has_every_check_and_what_took_part(tmp_path):
    path = tmp_path / "guest" / "report.json"
    write_report(path, RESULTS, versions={"qemu-system-x86": "1:11.1.3"}, kernels={"6.1": "6.1.0-50"})
    report = json.loads(path.read_text())
    assert (report["passed"], report["failed"]) == (2, 1)
    assert report["versions"] == {"qemu-system-x86": "1:11.1.3"}
    assert report["kernels"] == {"6.1": "6.1.0-50"}
    assert report["checks"][2] == {
        "kernel": "6.1",
        "provider": "rtl",
        "device": "rng transitional forced legacy intx",
        "check": "entropy",
        "status": "failed",
        "wall_s": 1.5,
        "figures": {},
        "message": "not random",
    }
    assert report["checks"][1]["figures"]["sequential_mb_per_s"] == 210.48


def test_a_terminal_of_80_columns_shows_a_line_for_each_boot_with_its_figures():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table(RESULTS))
    lines = console.export_text().splitlines()
    (boot,) = [line for line in lines if "qemu blk root" in line]
    for expected in ("6.1", "2/2", "6.2 s", "4.2 s", "1,500", "9,123", "210.5"):
        assert expected in boot
    (failed,) = [line for line in lines if "rtl rng" in line]
    assert "0/1" in failed


def test_ratios_compare_what_both_measured_on_the_same_kernel_and_device():
    def speed(provider, device, reads, kernel="6.1"):
        return Result(
            kernel, provider, device, "speed", "passed", 1.0, {"random1_requests_per_s": reads, "x": 1}
        )

    results = [
        speed("rtl", "blk", 300.0),
        speed("qemu", "blk", 1200.0),
        speed("rtl", "blk root", 100.0),
        speed("qemu", "blk", 1.0, kernel="6.12"),
    ]
    figure = "random1_requests_per_s"
    assert ratios(results) == [
        {"kernel": "6.1", "provider": "rtl", "device": "blk", "figure": figure, "ratio": 0.25}
    ]
