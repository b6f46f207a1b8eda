"""Results for the documentation: a table between two marks, and the plot."""

from collections.abc import Sequence
from pathlib import Path

from .report import NoResults, Row, goal, number, share
from .sizes import BENCHES, plot

__all__ = ["BEGIN", "END", "PLOT", "markdown", "write_documents"]

DOCUMENTS, PLOT = (Path("README.md"), Path("docs/benchmarks.md")), Path("docs/request-size.svg")
BEGIN, END = "<!-- results: made by virtio-endpoint bench --document -->", "<!-- end of results -->"
TITLES = ("bench", "config", "figure", "value", "peer or limit", "of it", "goal", "met")


def markdown(rows: Sequence[Row]) -> str:
    """A table of all rows but those of the plot."""
    lines = [TITLES, ["---"] * 3 + ["---:"] * (len(TITLES) - 3)]
    for row in rows:
        if row.bench in BENCHES.values():
            continue
        met = {None: "", True: "yes", False: "**no**"}[row.met]
        numbers = (number(row.value), number(row.limit), share(row), goal(row), met)
        lines.append((row.bench, row.config, row.figure, *numbers))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_documents(rows: Sequence[Row]) -> Sequence[Path]:
    """Put the table into the documents, and the plot if it was measured beside them; the documents' paths."""
    for document in DOCUMENTS:
        if not document.is_file():
            raise NoResults(f"there is no {document} here; run this in a checkout")
        text = document.read_text()
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        document.write_text(f"{before}{BEGIN}\n\n{markdown(rows)}\n\n{END}{after}")
    if any(row.bench in BENCHES.values() for row in rows):
        PLOT.write_text(plot(rows))
    return DOCUMENTS
