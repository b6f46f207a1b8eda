"""Throughput over the size of requests, and a plot of it."""

from collections.abc import Iterator, Sequence

from virtio_spec.blk import BlkReqType

from .load import PAGE
from .on_native import measure
from .reference import LINK
from .report import Row
from .workloads import BLK, TABLES, Workload, blk

__all__ = ["BENCHES", "SIZES", "plot", "request_sizes"]

DEPTH = 32
SIZES = [512 << n for n in range(9)]
#: Data until a measurement ends, in bytes, and requests at least.
AMOUNT, REQUESTS = 1 << 20, 16
KINDS = {True: BlkReqType.IN, False: BlkReqType.OUT}
#: What the rows are called, by direction.
BENCHES = {True: "request size, to host", False: "request size, from host"}


def request_sizes(seed: int) -> Iterator[Row]:
    """Block requests of each size."""
    for to_host, kind in KINDS.items():
        for size in SIZES:
            work = Workload(BLK, blk(kind, size=size, depth=DEPTH), TABLES)
            traffic = measure(work, max(AMOUNT // size, REQUESTS), seed=seed)
            piece = min(size, PAGE)
            limit = piece / LINK.cycles(LINK.write(piece) if to_host else LINK.read(piece))
            figure = f"payload bytes per cycle, {size} bytes"
            yield Row(BENCHES[to_host], BLK.name, figure, traffic.rate(to_host=to_host), limit)


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 400, 50, 30, 40, 60
MOST = 32  # bytes per cycle
COLOURS = {True: "#1b6ac9", False: "#c25a00"}
WORDS = {True: "to the host", False: "from the host"}


def plot(rows: Sequence[Row]) -> str:
    """The rows of :func:`request_sizes` as SVG: bytes per cycle over size, beside the limit of the link."""
    inner, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(number: int) -> float:
        return LEFT + inner * number / (len(SIZES) - 1)

    def y(value: float) -> float:
        return TOP + tall * (1 - value / MOST)

    def line(values: Sequence[float], style: str) -> str:
        points = " ".join(f"{x(number):.1f},{y(value):.1f}" for number, value in enumerate(values))
        return f'  <polyline points="{points}" fill="none" {style}/>'

    def text(at: tuple[float, float], words: str, anchor: str = "middle", more: str = "") -> str:
        return f'  <text x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}"{more}>{words}</text>'

    font = 'font-family="sans-serif" font-size="13" fill="#333"'
    made = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {font}>',
        f'  <rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text((LEFT, 22), f"Block requests, queue depth {DEPTH}: payload bytes per cycle", "start"),
    ]
    for value in range(0, MOST + 1, 8):
        made.append(f'  <path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        made.append(text((LEFT - 8, y(value) + 4), str(value), "end"))
    for number, size in enumerate(SIZES):
        label = f"{size} B" if size < 1024 else f"{size // 1024} KiB"
        made.append(text((x(number), HEIGHT - BOTTOM + 20), label))
    for to_host, bench in BENCHES.items():
        points = [row for row in rows if row.bench == bench]
        colour, words = COLOURS[to_host], WORDS[to_host]
        limits = [row.limit or 0.0 for row in points]
        made.append(line(limits, f'stroke="{colour}" stroke-dasharray="3 4"'))
        made.append(line([row.value for row in points], f'stroke="{colour}" stroke-width="2.5"'))
        made += [
            f'  <circle cx="{x(number):.1f}" cy="{y(row.value):.1f}" r="3.5" fill="{colour}">'
            f"<title>{row.value:.2f}</title></circle>"
            for number, row in enumerate(points)
        ]
        place = LEFT + (20 if to_host else 220)
        made.append(f'  <rect x="{place}" y="{HEIGHT - 26}" width="14" height="4" fill="{colour}"/>')
        made.append(text((place + 22, HEIGHT - 19), words, "start"))
    made.append(text((LEFT + 420, HEIGHT - 19), "dotted: what the link allows", "start"))
    return "\n".join([*made, "</svg>", ""])
