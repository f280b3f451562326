"""The report's page in headless Chromium: details, scrolling, per-class accuracy, and networks at chance."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from fitnets.console import quantities
from fitnets.reporting import page as reporting_page
from fitnets.reporting import page_data, runs
from support import made_store as made
from support.browsers import CHROMIUM, opened

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium")
COUNTS = [[40, 7, 3], [0, 49, 1], [25, 25, 0]]
NAMES = ["cat & dog", "<b>bird</b>", "fish"]


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    """The page of 63 runs. Three have confusion matrices: with names, without names, and damaged."""
    store = tmp_path_factory.mktemp("page")
    for number in range(57):
        student = made.side("thin", 50 + number / 2, 20_000 + 1000 * number, 2000, depth=number)
        made.write_run(
            store, f"run{number:013}", epochs=3, student=student, hashes=made.hashes(f"s{number}"), commonest_class=0.52
        )
    for number, more in enumerate(({"classes": NAMES}, {}, {"classes": NAMES})):
        student = made.side("named", 90 + number, 1_000_000 + number, 20_000)
        student |= {"test_confusion": COUNTS if number < 2 else [[1, 2], [3]]}
        hashes = made.hashes(f"n{number}")
        made.write_run(store, f"zz{number:014}", epochs=3, student=student, hashes=hashes, **more)
    for seed, accuracy in enumerate((99.0, 70.0, 80.0)):
        student = made.side("spread", accuracy, 2_000_000, 20_000)
        timing = {"run_seconds": 100_000, "device": "cpu", "precision": "fp32", "latency": made.latency(1.0)}
        made.write_run(store, f"spread{seed}", student=student, hashes=made.hashes("spread"), timing=timing)
    return reporting_page.write(store, store / "report").as_uri()


def click_row(page: Page, words: str) -> None:
    row = page.locator("#table tbody tr").filter(has_text=words).first
    row.scroll_into_view_if_needed()
    row.locator("button").click()


def test_a_row_far_down_scrolls_to_its_details_and_a_button_leads_back(page):
    click_row(page, "run0000000000050")
    expect(page.locator("#details-title")).to_be_in_viewport()
    expect(page.locator("#details-title")).to_have_text("thin depth=50 (kd)")
    expect(page.locator("#details-facts")).to_be_in_viewport()
    expect(page.locator("#table tr.chosen")).not_to_be_in_viewport()
    page.click("#back")
    expect(page.locator("#table tr.chosen")).to_be_in_viewport()
    assert page.evaluate("document.activeElement.textContent") == "run0000000000050"


def test_a_row_without_curves_scrolls_to_its_details_too(page):
    click_row(page, "spread2")
    expect(page.locator("#details-title")).to_be_in_viewport()


def test_a_table_that_scrolls_shows_it_and_keeps_its_first_column(page):
    frame, box = page.locator("#scroll-frame"), page.locator("#scroll")
    box.scroll_into_view_if_needed()
    expect(frame).to_have_class("frame more-right")
    expect(page.locator("#sideways")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.getElementById('scroll-frame'), '::after').opacity") != "0"
    before = page.locator("#table tbody td").first.bounding_box()
    box.evaluate("(box) => { box.scrollLeft = 120; }")
    page.wait_for_selector("#scroll-frame.more-left")
    assert {"more-left", "more-right"} < set(frame.get_attribute("class").split())
    assert page.locator("#table tbody td").first.bounding_box()["x"] == before["x"]
    assert page.locator("#table th").first.bounding_box()["x"] == before["x"]
    box.evaluate("(box) => { box.scrollLeft = box.scrollWidth; }")
    expect(frame).to_have_class("frame more-left")


def test_a_table_that_fits_shows_no_scroll_hint(browser, address):
    for page in opened(browser, address, {"width": 1280, "height": 900}):
        page.evaluate(
            "document.querySelector('main').style.maxWidth = 'none'; document.body.style.zoom = 0.4; showSides()"
        )
        expect(page.locator("#sideways")).to_be_hidden()
        expect(page.locator("#scroll-frame")).to_have_class("frame")


def test_each_class_has_its_accuracy_and_the_matrix_is_drawn(phone):
    click_row(phone, "zz00000000000000")
    rows = [row.split("\t") for row in phone.locator("#classes-table tbody tr").all_inner_texts()]
    assert rows == [
        ["cat & dog", "50", "80.00 %", "<b>bird</b> (7)"],
        ["<b>bird</b>", "50", "98.00 %", "fish (1)"],
        ["fish", "50", "0.00 %", "cat & dog (25)"],
    ]
    assert phone.locator("#classes-title").inner_text() == "Accuracy of each class, on test"
    phone.wait_for_selector("#confusion .main-svg")
    heat = phone.evaluate("(({ z, text }) => [z, text])(document.getElementById('confusion').data[0])")
    assert heat[0][0] == [0.8, 0.14, 0.06]
    assert heat[1][2][1] == "fish taken for &lt;b&gt;bird&lt;/b&gt;: 25, 50.00 %"
    assert phone.evaluate("document.documentElement.scrollWidth") <= phone.viewport_size["width"]


def test_classes_without_names_have_numbers_and_other_runs_have_no_section(desktop):
    click_row(desktop, "zz00000000000001")
    assert desktop.locator("#classes-table tbody td").first.inner_text() == "class 0"
    for name in ("zz00000000000002", "run0000000000000"):
        click_row(desktop, name)
        expect(desktop.locator("#classes")).to_be_hidden()


def test_chance_intervals_and_durations(desktop):
    click_row(desktop, "run0000000000000")
    assert "no better than always naming one class" in desktop.locator("#details-facts").inner_text()
    click_row(desktop, "run0000000000050")
    assert "no better" not in desktop.locator("#details-facts").inner_text()
    click_row(desktop, "spread0")
    assert "83.00 % (46.41 to 100.00 %)" in desktop.locator("#details-facts").inner_text()
    assert "1 day 3 h" in desktop.locator("#table tbody tr").filter(has_text="spread0").inner_text()
    bars = desktop.evaluate(
        """document.getElementById("chart").data.filter((one) => one.error_y)
        .flatMap((one) => one.y.map((y, index) => [y - one.error_y.arrayminus[index], y + one.error_y.array[index]]))"""
    )
    assert max(high for _, high in bars) == pytest.approx(100)
    front = desktop.evaluate("document.getElementById('chart').data[0].y")
    assert min(front) > 52


def test_the_script_writes_numbers_and_durations_as_python_does(desktop):
    for value in (999_999, 940, 3.4e12, 29_900, 0.0123, 999.6, 4_970_000):
        assert desktop.evaluate(f"number({value})") == quantities.number(value)
    for seconds in (12, 59.7, 185, 9600, 3599.6, 5809 * 3600, 86_400):
        assert desktop.evaluate(f"duration({seconds})") == quantities.duration(seconds)


def test_many_large_confusion_matrices_leave_the_page_small():
    big = {f"r{number}": {"test": [[7] * 100] * 100, "classes": None} for number in range(200)}
    kept = page_data._confusions(big, first=["r150"])
    assert next(iter(kept)) == "r150"
    assert 50 < len(kept) < 150
    assert len(json.dumps(kept, separators=(",", ":"))) < 2.1e6


def test_only_square_matrices_of_counts_are_loaded(tmp_path: Path):
    for name, matrix in {"a": COUNTS, "b": [[1, 2], [3]], "c": "no", "d": [], "e": [[1, 2], [3, "4"]]}.items():
        made.write_run(tmp_path, name, student={"name": "thin", "valid_confusion": matrix}, classes=["one", "two"])
    made.write_run(tmp_path, "f", student=None)
    assert runs.confusions(tmp_path) == {"a": {"valid": COUNTS, "classes": None}}
