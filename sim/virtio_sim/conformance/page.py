"""The report as one HTML page that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cocotbext.virtio.conformance import Status
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from .report import Entry, Report, counts

__all__ = ["write_page"]


def write_page(path: Path, report: Report) -> None:
    """Coverage by area and device, each requirement with its tests, each failure with its packets."""
    environment = Environment(
        loader=PackageLoader("virtio_sim.conformance", "templates"),
        autoescape=select_autoescape(["html", "j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    entries = report.entries()
    concerned = [entry for entry in entries if entry.status != Status.NOT_APPLICABLE]
    text = environment.get_template("report.html.j2").render(
        statuses=list(Status),
        devices=sorted({run.device for run in report.runs.values()}),
        totals=counts(entry.status for entry in entries),
        areas=[_area(area, entries) for area in dict.fromkeys(entry.requirement.area for entry in concerned)],
        rows=[entry.as_dict() for entry in entries],
        runs=[
            {
                "name": run.name,
                "cases": len(run.cases),
                "failed": [case for case in run.cases if not case.passed],
                "wall_s": sum(case.wall_s for case in run.cases),
            }
            for run in report.runs.values()
        ],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _area(area: str, entries: Sequence[Entry]) -> dict[str, Any]:
    found = counts(entry.status for entry in entries if entry.requirement.area == area)
    return {"name": area, "counts": found, "total": sum(found.values())}
