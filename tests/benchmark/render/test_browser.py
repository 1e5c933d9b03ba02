"""The report in headless Chromium, from file://. Synthetic runs.

Needs a Chromium with its driver (Debian: chromium, chromium-driver) and selenium. Without them the
tests are skipped; with FINDREC_REQUIRE_BROWSER=1 they fail instead.
"""

import os
import shutil

import pytest

from benchmark.analyse.bootstrap import Score
from benchmark.plan import spec_of
from benchmark.render.document import percent
from benchmark.render.report.page import write_report
from benchmark.runs.runset import RunSet
from tests.benchmark.render.synthetic import scores_of

pytestmark = pytest.mark.browser

WIDTHS = (390, 820, 1400)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def unavailable(reason):
    if os.environ.get("FINDREC_REQUIRE_BROWSER") == "1":
        pytest.fail(f"FINDREC_REQUIRE_BROWSER=1, and {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        unavailable("selenium is not installed (pip install selenium)")
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        unavailable("no chromium with chromedriver on PATH (apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, synthetic, profile):
    store, _ = synthetic
    return write_report(
        profile, tmp_path_factory.mktemp("results"), RunSet(store), as_stored=True
    ).parent


@pytest.fixture
def at(browser, folder):
    """Opens a page at a width and in a theme of the system, with nothing remembered."""

    def go(page, width=1400, dark=False):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})
        browser.get(f"{folder.as_uri()}/{page}.html")
        browser.execute_script(
            "localStorage.clear(); delete document.documentElement.dataset.theme"
        )
        return browser

    return go


def column(browser, at):
    script = (
        "return [...document.querySelectorAll('#controls table')[0].tBodies[0].rows]"
        ".filter(r => !r.classList.contains('group'))"
        f".map(r => Number(r.cells[{at}].dataset.sort))"
    )
    return browser.execute_script(script)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", ["index", "trial", "tables", "figures", "claims"])
def test_loads_and_fits(at, page, width, dark):
    """No console message, and the page never scrolls sideways."""
    browser = at(page, width, dark)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_a_phone_keeps_the_methods_in_sight(at):
    """However far a table is moved sideways: the first column stays at its left edge."""
    browser = at("tables", 390)
    script = """
      const box = [...document.querySelectorAll('.scroll')].find(
        b => b.offsetHeight && b.scrollWidth > 1.5 * b.clientWidth);
      box.scrollLeft = box.scrollWidth;
      const left = box.getBoundingClientRect().left;
      const row = [...box.querySelectorAll('tbody tr')].find(r => r.cells.length > 2);
      return [box.scrollLeft, row.cells[0].getBoundingClientRect().left - left,
              row.cells[1].getBoundingClientRect().left - left,
              row.cells[0].getBoundingClientRect().width / box.clientWidth];
    """
    moved, first, second, share = browser.execute_script(script)
    assert moved > 100
    assert abs(first) < 2.5  # the border
    assert second < first
    assert share < 0.5


def test_bars_are_sorted_on_an_axis(at):
    """Trained rows from best to worst, controls after them; ticks lie on the scale of the bars."""
    browser = at("index")
    script = """
      const chart = document.querySelector('.bars');
      const rows = [...chart.querySelectorAll('.method:not(.axis)')];
      return [rows.map(r => [r.classList.contains('control'), r.querySelector('.value').textContent,
                             parseFloat(r.querySelector('.fill').style.width)]),
              [...chart.querySelectorAll('.ticks span')].map(
                t => [parseFloat(t.textContent), parseFloat(t.style.left)])];
    """
    rows, ticks = browser.execute_script(script)
    finished = [(control, float(text), share) for control, text, share in rows if text[:1] == "0"]
    assert len(finished) > 3
    assert [r[:2] for r in finished] == sorted(
        (r[:2] for r in finished), key=lambda r: (r[0], -r[1])
    )
    assert len(ticks) > 2
    for _, value, share in finished:
        # widths are rounded to 0.01 %, values to four decimals
        assert share / value == pytest.approx(ticks[-1][1] / ticks[-1][0], rel=2e-3)


def test_sorts(at):
    browser = at("tables")
    own_order = column(browser, 2)
    heading = "document.querySelectorAll('#controls table')[0].tHead.rows[0].cells[2]"
    seen = []
    for expected in ("descending", "ascending", None):
        browser.execute_script(f"{heading}.querySelector('button').click()")
        assert browser.execute_script(f"return {heading}.ariaSort") == expected
        seen.append([v for v in column(browser, 2) if v is not None])
    numbers = [v for v in own_order if v is not None]
    assert len(numbers) > 5
    assert seen == [sorted(numbers, reverse=True), sorted(numbers), numbers]


def test_filters(at):
    browser = at("tables")
    script = """
      const box = document.getElementById('filter');
      box.value = 'findrec'; box.dispatchEvent(new Event('input'));
      return [...document.querySelectorAll('#table2 > .scroll')].slice(0, 2)
        .flatMap(grid => [...grid.querySelectorAll('tbody tr')])
        .filter(r => !r.hidden && !r.classList.contains('group'))
        .map(r => r.cells[0].textContent)"""
    labels = browser.execute_script(script)
    assert len(labels) == 4
    assert all("FindRec" in label for label in labels)


@pytest.mark.parametrize("width", [390, 1400])
def test_a_number_shows_where_it_comes_from(at, profile, width):
    browser = at("tables", width)
    shown = browser.execute_script(
        "document.querySelector('[data-cell=\"2|FindRec||beauty|NDCG@10|kept\"]').click();"
        "const d = document.getElementById('provenance');"
        "return [d.open, d.innerText, d.scrollWidth <= d.clientWidth]"
    )
    assert shown[0]
    assert shown[2]
    known = f"convergence {spec_of('FindRec', 'beauty', profile).convergence}"
    for part in ("NDCG@10 on beauty", "code hash", "findrec.model:FindRec", known):
        assert part in shown[1]
    browser.execute_script("document.querySelector('#provenance .close').click()")
    assert not browser.execute_script("return document.getElementById('provenance').open")


def terms(browser):
    """The first three columns of the picker's decomposition: label, difference, interval."""
    return browser.execute_script(
        "return [...document.querySelectorAll('#compared table.terms tbody tr')]"
        ".map(r => [...r.cells].slice(0, 3).map(c => c.textContent))"
    )


def test_any_two_rows_are_compared(at, folder, synthetic):
    """By keyboard; the numbers are those of a comparison made here, printed as the tables print."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser = at("index")
    for name, row in (("a", "SASRec"), ("b", "Popularity")):
        browser.find_element(By.ID, f"pick-{name}").send_keys(row)
    heading = "return document.querySelector('#compared h3').textContent"
    assert browser.execute_script(heading).startswith("SASRec against Popularity on ")
    store, planned = synthetic
    rows = {p.key.model: p.spec for p in planned if p.key.variant == "base"}
    scores = scores_of(store, [rows["SASRec"], rows["Popularity"]], seeds=3)
    a, b = (Score(str(rows[n].key), "NDCG@10", "kept") for n in ("SASRec", "Popularity"))
    found = scores.compare(a, b)
    label, difference, interval = terms(browser)[0]
    assert label == "history kept"
    assert difference == percent(found.difference)
    assert interval == f"{percent(found.low)} to {percent(found.high)}"
    browser.find_element(By.ID, "pick-swap").send_keys(Keys.ENTER)
    assert browser.execute_script(heading).startswith("Popularity against SASRec on ")
    back = scores.compare(b, a)
    assert terms(browser)[0][1:] == [
        percent(back.difference),
        f"{percent(back.low)} to {percent(back.high)}",
    ]
    browser.find_element(By.ID, "pick-b").send_keys("Popularity")
    assert "two different rows" in browser.execute_script(
        "return document.getElementById('compared').textContent"
    )


def test_without_scripts_the_answer_stands(at, browser):
    """And the picker says what is missing instead of doing nothing."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        at("index")
        shown = browser.execute_script(
            "return [document.getElementById('picker').offsetHeight,"
            " document.querySelector('noscript').innerText,"
            " document.querySelectorAll('#answer tbody tr td').length]"
        )
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert shown[0] == 0
    assert "needs JavaScript" in shown[1]
    assert shown[2] == 12


def test_themes(at):
    background = "return getComputedStyle(document.body).backgroundColor"
    light = at("index").execute_script(background)
    browser = at("index", dark=True)
    dark = browser.execute_script(background)
    assert light != dark
    browser.execute_script("document.getElementById('theme').click()")
    assert browser.execute_script(background) == light
    browser.refresh()
    assert browser.execute_script(background) == light, "the choice is not kept"
    browser.execute_script("document.getElementById('theme').click()")
    assert browser.execute_script(background) == dark
