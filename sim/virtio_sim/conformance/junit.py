"""Results for continuous integration: JUnit's XML."""

import re
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from .report import RunResult

__all__ = ["write_junit"]

#: What XML cannot hold.
FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd]")


def write_junit(path: Path, runs: Iterable[RunResult]) -> None:
    """A suite for each run, and in it a case for each case and driver."""
    root = ElementTree.Element("testsuites", name="virtio-endpoint conformance")
    for run in runs:
        failed = sum(not case.passed for case in run.cases)
        wall_s = sum(case.wall_s for case in run.cases)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=run.name,
            tests=str(len(run.cases)),
            failures=str(failed),
            errors="0",
            skipped="0",
            time=f"{wall_s:.3f}",
        )
        for case in run.cases:
            module, _, name = case.case.partition(".")
            element = ElementTree.SubElement(
                suite,
                "testcase",
                classname=f"{run.name}.{module}",
                name=f"{name} [{case.driver}]",
                time=f"{case.wall_s:.3f}",
            )
            if not case.passed:
                failure = ElementTree.SubElement(element, "failure", message=_text(case.message))
                failure.text = _text("\n".join(map(str, case.trace)))
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _text(found: str) -> str:
    return FORBIDDEN.sub("?", found)
