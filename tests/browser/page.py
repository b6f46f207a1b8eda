"""The conformance report in a browser: from a file, in both colours, narrow, and by keyboard.

For `make browser`, which names this file: `make test` does not find it, and needs no browser.
"""

import os
import re
import shutil
from collections.abc import Iterator

import pytest
from cocotbext.virtio.conformance import CaseResult, Facts, catalogue
from cocotbext.virtio.trace import Event
from playwright.sync_api import Browser, expect, sync_playwright
from virtio_sim.conformance.page import write_page
from virtio_sim.conformance.report import Report, RunResult
from virtio_spec.virtio import DeviceType
from virtio_spec.virtio_pci import Interface

NAMES = ("chromium", "chromium-browser", "google-chrome")
FACTS = Facts(DeviceType.ENTROPY, Interface.MODERN, 1 << 32, 1, 2, (1, 2, 3, 5))
DRIVER = "modern natural split"
TRACE = (
    *(Event(40 * n, ">", f"MWr queue_select {n:#x}", "MWr64 00:00.0 tag 1") for n in range(60)),
    Event(9_000, "=", "queue 0: avail.idx 5 → 6", "2 bytes at 0x1002: 0600"),
    Event(9_040, "<", "MRd queue 0: avail.idx", "MRd 01:00.0 tag 0 at 0x1000"),
    Event(9_100, ">", "CplD queue 0: avail.idx 6"),
    Event(9_500, "<", "MWr queue 0: used[3] id 3 len 512"),
    Event(9_600, "<", "MWr interrupt: vector 1"),
)
WRONG = "AssertionError: <b>64</b> bytes, not 512"
STANDARD = [
    CaseResult("common.a_reset_clears_it", DRIVER, ("RESET-DEV-01", "STATUS-DEV-01"), wall_s=0.1),
    CaseResult("rng.it_gives_bytes", DRIVER, ("ENT-DEV-01",), wall_s=0.2),
]
BROKEN = CaseResult("rng.it_gives_bytes", DRIVER, ("ENT-DEV-01",), WRONG, 0.2, TRACE)


def run(backend, *cases):
    return RunResult(f"{backend} rng modern", backend, "rng", FACTS, cases)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless, and in no sandbox, which it cannot have where root runs the tests."""
    found = os.environ.get("VIRTIO_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail("there is no Chromium here; install one, or set VIRTIO_BROWSER to its path")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    """A report in which the model passes what the gateware does not."""
    made = tmp_path_factory.mktemp("page") / "report.html"
    report = Report()
    report.add(run("model", *STANDARD))
    report.add(run("native", STANDARD[0], BROKEN))
    write_page(made, report)
    return made


@pytest.fixture
def page(browser, path, request):
    """The page, open; that it asked for nothing else and complained of nothing is looked at afterwards."""
    opened = browser.new_page(**getattr(request, "param", {}))
    asked, complaints = [], []
    opened.on("request", lambda found: asked.append(found.url))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda found: complaints.append(found.text))
    opened.goto(path.as_uri())
    yield opened
    opened.close()
    assert {url.partition("#")[0] for url in asked} == {path.as_uri()} and not complaints


def requirement(page, identity):
    return page.locator("#rows > details", has=page.locator(f"summary code:text-is('{identity}')"))


def shown(page):
    return page.locator("#rows > details:visible")


def test_it_says_how_many_requirements_stand_where(page):
    count = sum(each.actor == "device" for each in catalogue().values())
    expect(page.locator("#lead")).to_contain_text(f"{count} requirements")
    tiles = [int(text) for text in page.locator("#tiles b").all_inner_texts()]
    assert sum(tiles) == count
    expect(page.locator("#total-failed")).to_have_text("1")
    expect(page.locator("#total-proven")).to_have_text("2")
    expect(shown(page)).to_have_count(count)


def test_a_requirement_leads_to_its_tests_and_a_failure_to_what_passed_before(page):
    found = requirement(page, "ENT-DEV-01")
    found.locator("summary").first.click()
    expect(found).to_contain_text("native rng modern: failed")
    test = found.locator(".test")
    expect(test.locator("summary").first).to_contain_text("it gives bytes")
    test.locator("summary").first.click()
    test.locator(".failure summary").first.click()
    expect(test.locator(".why")).to_have_text(WRONG)
    drawing = test.locator("svg")
    for text in (
        "queue 0: avail.idx 5 → 6",
        "MWr queue 0: used[3] id 3 len 512",
        "9.600 µs",
        "host",
        "device",
    ):
        expect(drawing.get_by_text(text, exact=True)).to_be_visible()
    assert page.url.endswith("#ENT-DEV-01")


def test_a_ladder_has_the_last_events_first_and_all_when_asked(page):
    drawing = page.locator("#failures svg")
    expect(drawing.get_by_text("MWr queue_select 0x3b", exact=True)).to_be_visible()
    expect(drawing.get_by_text("MWr queue_select 0x0", exact=True)).to_have_count(0)
    page.get_by_role("button", name=re.compile("earlier events")).click()
    expect(drawing.get_by_text("MWr queue_select 0x0", exact=True)).to_be_visible()
    assert drawing.locator("g.picked").count() == 0
    drawing.focus()
    page.keyboard.press("End")
    expect(page.locator("#failures output")).to_have_text("9,600 ns: MWr interrupt: vector 1")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#failures output")).to_contain_text("used[3] id 3 len 512")
    page.locator("#failures .ladder details summary").click()
    expect(page.locator("#failures .ladder pre")).to_contain_text(
        "MRd queue 0: avail.idx   (MRd 01:00.0 tag 0"
    )


def test_backends_that_differ_stand_side_by_side(page):
    found = page.locator("#differences")
    expect(found.locator("table").first).to_contain_text("it gives bytes")
    found.locator(".group summary").first.click()
    cells = found.locator(".group").first.locator("tbody tr").first.locator("td")
    assert cells.all_inner_texts()[:3] == ["ENT-DEV-01", "proven", "failed"]
    cells.first.locator("button").click()
    expect(requirement(page, "ENT-DEV-01")).to_have_attribute("open", "")


def test_requirements_are_found_by_words_status_and_area(page):
    page.fill("#words", "gives bytes")
    expect(shown(page)).to_have_count(1)
    page.click("#clear")
    page.locator("#tiles button", has_text="proven").click()
    expect(shown(page)).to_have_count(2)
    page.fill("#words", "zero")
    expect(page.locator("#shown")).to_contain_text("1 of")
    page.click("#clear")
    page.locator("#areas button", has_text="entropy").click()
    expect(shown(page).first).to_contain_text("ENT-DEV-01")


def test_duties_of_drivers_are_a_list_of_their_own(page):
    page.select_option("#actor", "driver")
    expect(shown(page).first).to_contain_text("-DRV-")
    expect(page.locator("#rows > details:visible", has_text="-DEV-")).to_have_count(0)
    page.click("#clear")
    expect(shown(page).first).to_contain_text("-DEV-")


def test_it_is_used_by_keyboard(page):
    page.keyboard.press("/")
    page.keyboard.type("gives bytes")
    expect(shown(page)).to_have_count(1)
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("#rows > details").nth(1)).to_have_attribute("open", "")
    page.keyboard.press("k")
    expect(page.locator("#rows > details > summary").first).to_be_focused()


def test_a_link_to_a_requirement_opens_it(page, path):
    page.goto(f"{path.as_uri()}#RESET-DEV-01")
    page.reload()
    expect(requirement(page, "RESET-DEV-01")).to_have_attribute("open", "")
    expect(requirement(page, "RESET-DEV-01").locator("summary").first).to_be_in_viewport()


NARROW = {"viewport": {"width": 360, "height": 740}}


@pytest.mark.parametrize("page", [NARROW, {}], ids=["narrow", "wide"], indirect=True)
def test_nothing_is_wider_than_the_window(page):
    requirement(page, "ENT-DEV-01").locator("summary").first.click()
    expect(page.locator("#failures svg")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("page", [{"color_scheme": "dark"}, {"color_scheme": "light"}], indirect=True)
def test_text_stands_out_from_its_paper(page):
    """Contrast of at least 4.5 to 1, as the accessibility guidelines have it."""
    expect(page.locator("#failures svg")).to_be_visible()
    found = page.evaluate(
        """() => {
          const light = (colour) => {
            const [r, g, b] = colour.match(/[\\d.]+/g).map((part) => part / 255)
              .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const paper = light(getComputedStyle(document.body).backgroundColor);
          const wanted = "p, h2, .why, .mark, #tiles b, nav a, .ladder text, .ladder output, th";
          const shown = (found) => found.getClientRects().length;
          return [...document.querySelectorAll(wanted)].filter(shown).map((found) => {
            const style = getComputedStyle(found);
            const ink = light(found instanceof SVGElement ? style.fill : style.color);
            return [(Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05), found.textContent];
          }).filter(([ratio]) => ratio < 4.5);
        }"""
    )
    assert found == []


def test_forty_thousand_results_make_a_page_of_few_elements(browser, tmp_path):
    """Which is why it opens at once; what a requirement is about is made when it is looked at."""
    names = [identity for identity, each in catalogue().items() if each.actor == "device"]
    report = Report()
    for number in range(10):
        cases = [
            CaseResult(f"module.a_sentence_about_behaviour_{n}", f"driver {d}", tuple(names[n : n + 3]))
            for n in range(400)
            for d in range(10)
        ]
        report.add(RunResult(f"native rng {number}", "native", "rng", FACTS, (*cases, *[BROKEN] * 20)))
    write_page(tmp_path / "report.html", report)
    opened = browser.new_page()
    opened.goto((tmp_path / "report.html").as_uri())
    expect(shown(opened)).to_have_count(len(names))
    rows = opened.locator("#rows > details").count()
    assert opened.locator("*").count() < 10 * rows
    opened.close()
