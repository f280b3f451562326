"""`import fitnets` offers a fixed list of names, imports nothing heavy, and its types reach the user's checker."""

import ast
import re
import subprocess
import sys

import pytest

import fitnets
from support.places import ROOT
from support.processes import cold

HEAVY = {"torch", "numpy", "hydra", "pandas", "matplotlib", "wandb", "datasets", "huggingface_hub", "tensorboard"}
PRINT_HEAVY = f"; import sys; print(sorted({HEAVY!r} & set(sys.modules)))"


def test_the_list_of_names_is_the_documented_one():
    section = (ROOT / "fitnets" / "README.md").read_text().partition("## As a library")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `(?:fitnets\.)?(\w+)", section, re.MULTILINE)
    assert dir(fitnets) == sorted(documented) == sorted(fitnets.__all__)


def test_table_and_type_checking_block_have_the_same_names():
    tree = ast.parse((ROOT / "fitnets" / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {(alias.asname, f"{line.module}") for line in block.body for alias in line.names}
    assert typed == set(fitnets._PLACES.items())
    assert set(fitnets._PLACES) == set(fitnets.__all__)


@pytest.mark.parametrize(
    "code",
    [
        "import fitnets; dir(fitnets); hasattr(fitnets, 'nope')",
        "import fitnets; fitnets.ConfigError; fitnets.Config",
        "import sys; sys.argv = ['fitnets', '--help']; from fitnets.cli import main; main()",
    ],
)
def test_nothing_heavy_is_imported(code, tmp_path):
    done = cold("-c", code + PRINT_HEAVY, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


@pytest.mark.timed
def test_import_takes_a_small_part_of_torchs(tmp_path):
    def seconds(module: str) -> float:
        code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
        return min(float(cold("-c", code, cwd=tmp_path).stdout) for _ in range(3))

    assert seconds("fitnets") <= 0.15 * seconds("torch")


FIRST = """
import sys
import fitnets
try:
    {first}
except ImportError:
    pass
names, path = fitnets.__all__, list(sys.path)
for _ in range(2):
    for name in ("compose", "run", "runs", "load", "export", "plot", "report"):
        assert callable(getattr(fitnets, name)), name
from fitnets import compose, export, load, plot, report, run, runs
assert all(map(callable, (compose, export, load, plot, report, run, runs)))
assert sys.path == path
"""


@pytest.mark.parametrize(
    "first",
    [
        "import fitnets.compose; from fitnets.compose import to_config",
        "import fitnets.commands.report, fitnets.commands.export",
    ],
)
def test_names_are_callable_whatever_was_imported_first(first, tmp_path):
    done = cold("-c", FIRST.format(first=first), cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_an_attribute_error_with_a_near_name():
    with pytest.raises(AttributeError, match=r"has no attribute 'laod'; did you mean load\?"):
        _ = fitnets.laod  # type: ignore[attr-defined]


THREADS = """
import threading, fitnets
barrier, found = threading.Barrier(8), []
def touch():
    barrier.wait()
    found.append(fitnets.compose)
threads = [threading.Thread(target=touch) for _ in range(8)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
assert len(found) == 8 and len(set(found)) == 1
"""


def test_threads_may_touch_a_name_at_once(tmp_path):
    assert cold("-c", THREADS, cwd=tmp_path).returncode == 0


CONSUMER = """
import fitnets
from fitnets import compose, export, load, plot, report, run, runs

reveal_type(compose([]))
reveal_type(run([]))
reveal_type(load("x"))
reveal_type(runs("s"))
reveal_type(report("s"))
reveal_type(fitnets.load("x").classes)
"""


def test_types_reach_a_strict_checker_outside_the_checkout(tmp_path):
    (tmp_path / "consumer.py").write_text(CONSUMER)
    words = ["-m", "mypy", "--strict", f"--python-executable={sys.executable}", f"--cache-dir={ROOT / '.mypy_cache'}"]
    done = cold(*words, "--follow-imports=silent", "consumer.py", cwd=tmp_path, MYPYPATH=str(ROOT))
    revealed = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert done.returncode == 0, done.stdout
    assert len(revealed) == 6, done.stdout
    assert not [kind for kind in revealed if "Any" in kind], revealed


def test_the_package_has_its_type_marker_and_all_options(tmp_path):
    """The files of the wheel are those of the folder; an ignore pattern may leave some out."""
    ignored = subprocess.run(
        ["git", "check-ignore", "fitnets/py.typed", *sorted(map(str, (ROOT / "conf").rglob("*.yaml")))],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert (ROOT / "fitnets" / "py.typed").exists()
    assert ignored.stdout == ""
