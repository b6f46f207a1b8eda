import io

from rich.console import Console
from virtio_sim.transcript import transcript


def shown(events):
    console = Console(file=io.StringIO(), width=80)
    for piece in transcript(events):
        console.print(piece, highlight=False)
    return [line.strip() for line in console.file.getvalue().splitlines() if line.strip()]


def drift(seconds, natural, by_bytes):
    return {"drift": {"host": seconds * 1_000_000, "natural": natural, "bytes": by_bytes}}


def test_sentences_come_as_they_were_said():
    events = [{"say": "guest: one"}, {"progress": "x", "done": 1}, {"say": "host: [two]"}]
    assert shown(events)[0] == "guest: one"
    assert len(shown(events)) == 2


def test_readings_in_a_row_are_one_table():
    lines = shown(
        [{"say": "a"}, drift(2**32 - 1, 1_500, -2), drift(2**32, 0, 1), {"say": "b"}, drift(0, 0, 0)]
    )
    assert [line for line in lines if "UTC" in line] == [lines[1], lines[6]]
    assert lines[3].split() == ["2106-02-07", "06:28:15", "0_ffffffff", "+1.500", "ms", "-0.002", "ms"]
    assert lines[4].split() == ["2106-02-07", "06:28:16", "1_00000000", "+0.000", "ms", "+0.001", "ms"]
    assert lines[5] == "b"
    assert lines[8].split()[:3] == ["1970-01-01", "00:00:00", "0_00000000"]


def test_a_table_fits_80_columns():
    console = Console(file=io.StringIO(), width=200)
    (table,) = transcript([drift(2**33, 123_456_789, -123_456_789)])
    assert console.measure(table).maximum <= 80
