"""`analysis/results`: every page and figure is what the stored results give."""

import json
import re
import shlex
from dataclasses import replace

import pytest
from matplotlib.testing.compare import compare_images

from fitnets.composition import loading
from fitnets.planning import identity
from fitnets.reporting import reproduced
from fitnets.reproduction import result_pages
from support.places import ROOT

STALE = "run `fitnets results`"
PAPER_TABLES = sorted(result_pages.RESULTS.glob("*/table.json"))


@pytest.mark.parametrize("name", sorted(result_pages.pages()))
def test_a_page_is_what_the_stored_results_give(name):
    path = result_pages.RESULTS / f"{name}.md"
    assert path.exists(), STALE
    assert path.read_text() == result_pages.pages()[name].text(), STALE


@pytest.mark.parametrize("path", [result_pages.README, result_pages.ANALYSIS_README], ids=["README", "analysis"])
def test_the_tables_of_a_readme_are_up_to_date(path):
    text = path.read_text()
    assert "<!-- results: " in text
    assert result_pages.with_results(text) == text, STALE


def test_every_stored_result_has_a_page_or_a_table_in_the_readme():
    stored = {path.stem for path in result_pages.RESULTS.iterdir() if path.suffix != ".md"}
    blocks = re.findall(r"<!-- results: (\w+) -->", result_pages.README.read_text())
    assert stored <= {*result_pages.pages(), *blocks}


def test_every_page_belongs_to_stored_results():
    assert {path.stem for path in result_pages.RESULTS.glob("*.md")} == set(result_pages.pages())


def test_a_changed_page_is_written_anew(tmp_path, monkeypatch, fitnets):
    """The command rewrites the changed page; a second call changes nothing."""
    path = result_pages.RESULTS / "networks.md"
    before = path.read_text()
    try:
        path.write_text(before.replace("249,576", "249,577"))
        assert fitnets("results").out == "written: analysis/results/networks.md\n"
        assert path.read_text() == before
        assert fitnets("results").out == "every page is up to date\n"
    finally:
        path.write_text(before)


@pytest.mark.parametrize("folder", PAPER_TABLES, ids=lambda path: path.parent.name)
def test_tables_of_the_paper_have_an_interval_or_say_that_there_is_none_and_a_command(folder):
    text = reproduced.document(folder.parent)
    parts = text.split("\n\n")
    table, commands = parts[1], parts[-2]
    (verdicts,) = (part for part in parts if part.startswith("| difference of accuracies"))
    rows, verdicts = ([line[2:-2].split(" | ") for line in part.splitlines()[2:]] for part in (table, verdicts))
    told = json.loads(folder.read_text())
    ours = [row[4:] for row, one in zip(rows, told["rows"], strict=True) if one["cells"]]
    figures = [figure for row in ours for figure in row] + [one for row in verdicts for one in row[1:3]]
    for figure in figures:
        assert re.search(r"± \d+\.\d+ \(n = \d+|\(n = 1( of \d+)?, no interval|no interval \(n = 1", figure), figure
    for row in told["rows"]:
        for schedule, candidates in row["cells"].items():
            for one in candidates:
                runs = " ".join(one["runs"].values())
                assert f"* {row['label']}, `schedule={schedule}`: `{one['command']}`; runs {runs}" in commands


@pytest.mark.parametrize("folder", PAPER_TABLES, ids=lambda path: path.parent.name)
def test_tables_of_the_paper_say_what_the_recipes_say(folder):
    told = json.loads(folder.read_text())
    assert result_pages.with_current_recipe(told) == told, STALE


def test_figures_are_drawn_of_what_is_kept(tmp_path):
    result_pages.draw(tmp_path)
    for name in ("results/figure2/figure2.png", "screenshots/similarity.png"):
        kept, drawn = (str(folder / name) for folder in (ROOT / "analysis", tmp_path))
        assert compare_images(kept, drawn, tol=1) is None, STALE


@pytest.mark.parametrize("folder", PAPER_TABLES, ids=lambda path: path.parent.name)
def test_tables_of_the_paper_have_commands_that_give_their_hashes(folder):
    told = json.loads(folder.read_text())
    digests = {json.loads(path.read_text())["hashes"]["data"] for path in folder.parent.glob("run/*/result.json")}
    (digest,) = digests
    for candidate in (one for row in told["rows"] for found in row["cells"].values() for one in found):
        *words, _ = [word for word in shlex.split(candidate["command"])[2:] if word != "-m"]
        config = loading.load(words)
        for seed, name in candidate["runs"].items():
            hashes = identity.hashes(replace(config, seed=int(seed)), digest, config.engine.precision)
            assert hashes.run == name
