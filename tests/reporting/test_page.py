"""The report's page in headless Chromium: content, hover, click, sorting and search, without any network request."""

import json
import re
import shlex
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from fitnets.reporting import page as reporting_page
from fitnets.reporting import runs, tradeoff
from support import made_store as made
from support.browsers import CHROMIUM, SIZES, opened
from support.places import ROOT
from support.processes import shell
from support.runs import TINY

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium")


@pytest.fixture(scope="module")
def address(made_store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return reporting_page.write(made_store, tmp_path_factory.mktemp("report")).as_uri()


def choose_task(page: Page, task: str) -> None:
    page.select_option("#task", task)


def place(page: Page, label: str) -> tuple[float, float]:
    """The coordinates in the window of the point with this label."""
    page.locator("#chart").scroll_into_view_if_needed()
    coordinates = page.evaluate(
        """(label) => {
            const chart = document.getElementById("chart");
            const index = data.points.findIndex((point) => point.label === label);
            const trace = chart._fullData.find((one) => one.customdata?.includes(index));
            const number = trace.customdata.indexOf(index);
            const { xaxis, yaxis } = chart._fullLayout;
            const box = chart.getBoundingClientRect();
            const [x, y] = [xaxis.d2p(trace.x[number]), yaxis.d2p(trace.y[number])];
            return [box.left + xaxis._offset + x, box.top + yaxis._offset + y];
        }""",
        label,
    )
    return coordinates[0], coordinates[1]


THIN = "thin depth=3 width=8, conv2 learns conv2"


def test_the_verdict_comes_first(page):
    assert page.locator("main > section").first.get_attribute("id") == "verdict"
    first = page.locator(".verdicts li").first
    assert (
        "hints against backprop: +1.28 ± 0.52 points (95 % interval, 5 seeds, paired); 30 epochs each."
        in first.inner_text()
    )
    assert first.locator(".word").inner_text() == "BETTER"
    assert "On test: BETTER, +1.28" in first.inner_text()


def test_the_front_is_the_line_of_the_chart(page):
    choose_task(page, "digits")
    front = page.evaluate("document.getElementById('chart').data[0]")
    assert front["x"] == [made.THIN[member][1] for member in made.FRONT]
    assert front["y"] == pytest.approx([made.THIN[member][0] for member in made.FRONT])
    page.select_option("#cost", "parameters")
    assert page.evaluate("document.getElementById('chart').data[0].x") == [1000, 3500, 7500]
    page.select_option("#split", "test")
    assert page.evaluate("document.getElementById('chart').data[0].y") == pytest.approx([89, 93, 96])


def test_hovering_shows_configuration_and_command(page):
    choose_task(page, "digits")
    page.mouse.move(*place(page, THIN))
    page.wait_for_selector(".hovertext")
    shown = page.locator(".hovertext").first.text_content()
    for words in (
        THIN,
        "hints, schedule quick, 1 seed",
        "validation 94.00 %, test 93.00 %",
        "70 k multiplications",
        "student.width=8",
    ):
        assert words in shown.replace("\n", " ")


def test_a_click_filters_the_table_and_shows_the_command(page):
    choose_task(page, "digits")
    page.mouse.click(*place(page, THIN))
    expect(page.locator("#details-title")).to_have_text(f"{THIN} (hints)")
    assert (
        page.locator("#command").inner_text()
        == "python run.py student=thin student.depth=3 student.width=8 hydra.mode=RUN"
    )
    assert [row.split("\t")[0] for row in page.locator("#table tbody tr").all_inner_texts()] == ["thin2-0"]
    assert page.locator("#shown").inner_text() == "1 of 37 runs"
    ring = page.locator("#ring").bounding_box()
    x, y = place(page, THIN)
    assert (ring["x"] + ring["width"] / 2, ring["y"] + ring["height"] / 2) == pytest.approx((x, y), abs=3)
    page.click("#clear")
    assert page.locator("#table tbody tr").count() == 37
    assert page.locator("#details").is_hidden()


def test_each_seed_has_its_command_and_curves(page):
    choose_task(page, "digits")
    page.mouse.click(*place(page, "fitnet"))
    assert page.locator("#table tbody tr").count() == 5
    assert "95.00 ± 0.98 %" in page.locator("#details-facts").inner_text()
    page.locator("#table tbody tr").nth(3).click()
    assert page.locator("#command").inner_text() == "python run.py method=backprop seed=3 teacher.seed=3"
    page.evaluate("new Promise((drawn) => afterPaint(drawn))")
    names = page.evaluate("document.getElementById('curves').data.map((one) => one.name)")
    assert {
        "training loss, hint",
        "validation hint loss, hint",
        "lambda, student",
        "validation error, %, student",
    } <= set(names)
    weight = page.evaluate(
        "(({ x, y }) => [x, y])(document.getElementById('curves').data.find((one) => one.name === 'lambda, student'))"
    )
    assert weight == [[5, 6, 7, 8], [4.0, 3.25, 2.5, 1.75]]


def test_the_table_can_be_sorted(page):
    column = [header.split("\n")[0] for header in page.locator("#table th").all_inner_texts()].index("validation")

    def shown() -> list[float]:
        texts = [row.split("\t")[column] for row in page.locator("#table tbody tr").all_inner_texts()]
        return [float(text.split()[0]) for text in texts if text != "-"]

    page.locator("#table th button").nth(column).click()
    assert page.locator("#table th").nth(column).get_attribute("aria-sort") == "descending"
    assert shown() == sorted(shown(), reverse=True)
    assert shown()[0] == 97.0
    page.locator("#table th button").nth(column).click()
    assert shown() == sorted(shown())


def test_the_search_finds_runs_by_words(page):
    page.fill("#find", "thin depth=9")
    assert page.locator("#table tbody tr").count() == 2
    page.fill("#find", "diverged")
    assert page.locator("#table tbody tr").count() == 1
    assert made.HOSTILE in page.locator("#table tbody tr").first.inner_text()


def test_failed_runs_are_listed_and_their_text_is_escaped(page):
    table = page.locator("#table tbody").inner_text()
    assert all(status in table for status in ("diverged", "running", "damaged", "failed"))
    assert page.locator("#table img").count() == 0
    assert "37 runs: 33 finished" in page.locator("header").inner_text()


def test_no_text_is_undefined(page):
    for task in ("digits", "cifar10"):
        choose_task(page, task)
        page.locator("#table tbody button").first.click()
        names = page.evaluate("document.getElementById('chart').data.map((one) => one.name).join()")
        assert "undefined" not in names + page.locator("body").inner_text()
    assert "teacher maxout_cifar10, quick" in names


def test_a_run_without_a_point_has_details_too(page):
    page.fill("#find", "diverged0")
    page.locator("#table tbody button").first.press("Enter")
    assert "diverged" in page.locator("#details-facts").inner_text()
    assert page.locator("#command").inner_text().startswith("not known")


def test_the_page_is_no_wider_than_the_window(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_the_papers_points_are_hollow(page):
    choose_task(page, "cifar10")
    page.select_option("#cost", "paper_multiplications")
    paper = page.evaluate(
        "document.getElementById('chart').data.filter((one) => one.name.startsWith('paper'))"
        ".map((one) => [one.name, one.y[0], one.marker.symbol])"
    )
    assert ["paper: fitnet1", 89.01, "circle-open"] in paper


def test_hostile_names_are_shown_as_text(browser, tmp_path):
    """A configuration may hold any text. The page shows it literally, in the chart's labels too."""
    for number, method in enumerate(("hints", "kd")):
        directory = made.write_run(
            tmp_path, f"a{number}", epochs=2, method=method, dataset=made.HOSTILE, schedule=made.HOSTILE,
            student=made.side(made.HOSTILE, 90.0, 10, 10), teacher=made.side(f"<b>{made.HOSTILE}", 99.0, 20, 20),
        )  # fmt: skip
        made.write_environment(directory, f"student='{made.HOSTILE}'")
    address = reporting_page.write(tmp_path, tmp_path / "report").as_uri()
    for page in opened(browser, address, SIZES["desktop"]):
        page.mouse.move(*place(page, made.HOSTILE))
        page.wait_for_selector(".hovertext")
        assert made.HOSTILE in page.locator(".hovertext").first.text_content()
        page.mouse.click(*place(page, made.HOSTILE))
        assert shlex.quote(f"student='{made.HOSTILE}'") in page.locator("#command").inner_text()
        assert page.locator("img[src=x]").count() == 0


def test_a_run_of_many_takes_less_than_five_kilobytes(tmp_path):
    sizes = [page_of_runs(tmp_path / str(count), count).stat().st_size for count in (20, 120)]
    assert (sizes[1] - sizes[0]) / 100 < 5e3


@pytest.mark.timed
def test_two_thousand_runs_are_under_ten_megabytes_and_respond_at_once(browser, tmp_path):
    path = page_of_runs(tmp_path, 2000)
    assert path.stat().st_size < 10e6
    slowest_ms = []
    while len(slowest_ms) < 3 and min(slowest_ms, default=200) >= 200:  # other processes can only make it slower
        slowest_ms += [first_click_ms(page) for page in opened(browser, path.as_uri(), SIZES["desktop"])]
    print(f"the first click among 2000 runs takes {min(slowest_ms):.0f} ms, of at most 200 ms")
    assert min(slowest_ms) < 200


def page_of_runs(store: Path, count: int) -> Path:
    """Write the page of a store with this many runs."""
    for number in range(count):
        options = {"depth": 3 + number % 15, "width": 4 + number % 60}
        directory = made.write_run(
            store, f"r{number:04}", epochs=25, method=("hints", "kd", "backprop")[number % 3],
            student=made.side("thin", 50 + number % 480 / 10, 20_000 + 1000 * number, 2_000 + 50 * number, **options),
            hashes=made.hashes(f"s{number}"),
        )  # fmt: skip
        words = [f"student.{name}={value}" for name, value in options.items()]
        made.write_environment(directory, "+sweeps=depth_width", *words, "store=/shared/outputs", "hydra.mode=RUN")
    return reporting_page.write(store, store / "report")


def first_click_ms(page) -> float:
    """Duration in ms of the slowest event or long task of the first click, including the drawing of the curves."""
    label = page.evaluate("data.points[700].label")
    page.evaluate("""() => {
        window.took = { event: [], longtask: [] };
        const observer = new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) took[entry.entryType].push(entry.duration);
        });
        observer.observe({ type: "event", durationThreshold: 16 });
        observer.observe({ type: "longtask" });
    }""")
    x, y = place(page, label)
    page.mouse.click(x, y)
    expect(page.locator("#table tbody tr")).to_have_count(1)
    page.wait_for_timeout(500)
    took_ms = page.evaluate("window.took")
    assert took_ms["event"]
    assert page.locator("#curves .main-svg").count()
    return max(took_ms["event"] + took_ms["longtask"])


def test_from_an_empty_store_to_the_commands_of_its_front(browser, command, tmp_path):
    """Run a study and the controls by the real commands; then run the commands of the page's front once more."""
    tiny = [word for word in TINY if not word.startswith(("student.depth", "student.width"))]
    space = ("student.depth=3,4", "student.width=4,6", "sweep.budgets.relative_multiplications=40")
    store = tmp_path / "store"
    for words in (
        ("-m", "+sweeps=depth_width", *space, "hydra.sweeper.n_trials=2", *tiny),
        ("-m", "student.depth=3", "student.width=4", "method=backprop,kd,hints", "seed=range(2)", *tiny),
    ):
        finished = command(*words)
        assert finished.code == 0, finished.err
    reported = shell("-m", "fitnets.cli", "report", str(store), cwd=ROOT)
    assert reported.returncode == 0, reported.stderr
    for page in opened(browser, (store / "report" / "report.html").as_uri(), SIZES["desktop"]):
        words = page.locator("#verdict").inner_text()
        front = page.evaluate("document.getElementById('chart').data[0].x")
        members = page.evaluate(
            "data.points.filter((one) => one.front.includes('multiplications')).map((one) => data.runs[one.runs[0]])"
        )
    assert re.search(r"hints against kd: [+-]\d+\.\d\d ± \d+\.\d\d points \(95 % interval, 2 seeds, paired\)", words)
    points = tradeoff.points(runs.load(store))
    expected = points[tradeoff.front(points["multiplications"], points["valid_accuracy"])]
    assert front == sorted(expected["multiplications"].astype(float))
    for member in members:
        again = command(*shlex.split(member["command"])[2:])
        assert again.code == 0, again.err
        assert "found, nothing was trained" in again.out
        assert member["run"] in again.out
        result = json.loads((store / "run" / member["run"] / "result.json").read_text())
        assert member["valid"] == result["student"]["valid_accuracy"]
