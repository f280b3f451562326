"""`fitnets plot` and `fitnets.plot`: each figure, each format, and matplotlib's state as it was."""

import sys
import webbrowser

import matplotlib
import pytest
from PIL import Image

import fitnets as library
from fitnets.reporting.figures import saving
from support.processes import cold

HEADS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("trade_off", ".png"), ("depth", ".svg"), ("curves", ".pdf"), ("similarity", ".SVG"), ("sweep", ".png")],
)
def test_each_figure_is_written_in_the_format_of_its_suffix(made_store, tmp_path, kind, suffix, fitnets):
    out = tmp_path / f"figure{suffix}"
    done = fitnets("plot", kind, made_store, "-o", out)
    assert done.code == 0, done.err
    assert out.read_bytes().startswith(HEADS[suffix.lower()])
    if suffix == ".png":
        assert len(Image.open(out).convert("L").getcolors(10_000)) > 20  # something is drawn


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trade_of", "nowhere"], "trade_of: no such figure; did you mean trade_off? (figures: trade_off, depth,"),
        (["depth", "nowhere", "-o", "figure.bmp"], "no such format: give a file that ends in .png, .svg, .pdf"),
        (["depth", "nowhere"], "nowhere: no store"),
        (["curves", "{store}", "--name", "zzzz"], "--name zzzz: no finished run"),
        (["sweep", "{store}", "--name", "zzzz"], "--name zzzz: no such study"),
        (["depth", "{store}", "--name", "zzzz"], "only curves and sweep take a name"),
    ],
)
def test_a_mistake_is_one_line(made_store, fitnets, words, message):
    done = fitnets("plot", *(word.format(store=made_store) for word in words))
    assert (done.code, len(done.err.splitlines())) == (1, 1), done.err
    assert message in done.err


def test_a_failed_plot_leaves_the_old_file(made_store, tmp_path, monkeypatch):
    out = tmp_path / "figure.png"
    figure = library.plot("trade_off", made_store)
    saving.save(figure, out)
    old = out.read_bytes()
    monkeypatch.setattr(type(figure), "savefig", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        saving.save(figure, out)
    assert out.read_bytes() == old
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


def test_settings_of_matplotlib_stay_and_pyplot_has_no_figures(made_store, tmp_path):
    with matplotlib.rc_context({"lines.linewidth": 9.0}):
        before = dict(matplotlib.rcParams)
        figure = library.plot("curves", made_store)
        saving.save(figure, tmp_path / "figure.svg")
        library.report(made_store, tmp_path / "report")
        assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


SCRIPT = """
import sys, fitnets
figure = fitnets.plot("trade_off", sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules and "torch" not in sys.modules
from fitnets.reporting.figures import saving
from pathlib import Path
saving.save(figure, Path("figure.png"))
import matplotlib
print(matplotlib.rcParams._get("backend") if hasattr(matplotlib.rcParams, "_get") else "")
"""


def test_decoys_and_an_absent_window_system_change_nothing(made_store, tmp_path):
    """The current folder holds modules with the names of ours; the backend needs a window system."""
    (tmp_path / "analysis").mkdir()
    for decoy in ("analysis/__init__.py", "sweeps.py", "run.py"):
        (tmp_path / decoy).write_text("raise RuntimeError('the wrong module')\n")
    done = cold("-c", SCRIPT, str(made_store), cwd=tmp_path, MPLBACKEND="tkagg", DISPLAY="")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figure.png").exists()
    assert done.stdout.strip() in ("tkagg", "TkAgg", "")


@pytest.mark.parametrize("opens", [True, False])
def test_report_opens_its_page(made_store, tmp_path, fitnets, monkeypatch, opens):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or opens)
    done = fitnets("report", made_store, "--out", tmp_path, "--open")
    assert opened == [(tmp_path / "report.html").as_uri()]
    assert done.code == (0 if opens else 1)
    assert ("no browser can be started here" in done.err) is not opens
