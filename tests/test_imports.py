"""Tests that imports point one way and that heavy libraries are imported only in their rooms."""

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import fitnets
from support.places import ROOT

LEVELS = [  # rooms of fitnets/: each imports from the rows above it only
    {"errors", "paths", "progress", "signals"},
    {"parallel", "system"},
    {"config", "console", "kernels"},
    {"store"},
    {"data", "tracking"},
    {"models"},
    {"terms"},
    {"checks", "machine", "training"},
    {"composition", "planning"},
    {"experiment"},
    {"bench", "exporting", "sweeper"},
    {"reporting"},
    {"reproduction"},
    {"library"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
ONLY_IN = {
    "hydra": {"fitnets/composition/", "fitnets/sweeper/", "run.py"},
    "omegaconf": {"fitnets/composition/", "fitnets/sweeper/", "run.py"},
    "wandb": {"fitnets/tracking/"},
    "onnx": {"fitnets/exporting/"},
    "onnxruntime": {"fitnets/exporting/"},
    "datasets": {"fitnets/data/"},
    "sklearn": {"fitnets/data/sources.py"},
    "rich": {"fitnets/console/", "fitnets/experiment/stage_progress.py"},
    "pandas": {"fitnets/reporting/", "fitnets/library/stored.py"},
    "matplotlib": {"fitnets/reporting/", "fitnets/library/stored.py"},
    "optuna": {"fitnets/sweeper/"},
}
RESERVED = set(fitnets.__all__)
"""Names that `import fitnets` offers: importing a submodule of that name would replace it."""
SOURCES = [ROOT / "run.py", *sorted((ROOT / "fitnets").rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Return every module that a file imports, also in functions; `from fitnets import cli` counts as fitnets.cli."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def modules(root: Path) -> dict[str, Path]:
    """Return the modules of `root/fitnets` by their dotted names, without the `__init__.py` of the rooms."""
    paths = sorted(path for path in (root / "fitnets").rglob("*.py") if path.name != "__init__.py")
    return {".".join(path.relative_to(root).with_suffix("").parts): path for path in paths}


def graph(root: Path) -> dict[str, set[str]]:
    """Return, for each module, the modules of fitnets that it imports."""
    known = modules(root)
    return {name: imported(path) & set(known) for name, path in known.items()}


def room(name: str) -> str:
    return name.split(".")[1]


def row(name: str) -> int:
    return next(index for index, level in enumerate(LEVELS) if name in level)


def upward(root: Path) -> list[str]:
    """Return imports from another room of the same row, or of a row below."""
    found = []
    for name, path in modules(root).items():
        for other in sorted(imported(path)):
            if not other.startswith("fitnets.") or room(other) in (room(name), "root"):
                continue
            if row(room(other)) >= row(room(name)):
                found.append(f"{name} imports {other}")
    return found


def circles(root: Path) -> Iterator[list[str]]:
    """Yield the modules that import each other in a circle, in whatever room they are."""
    imports, finished = graph(root), set()

    def visit(name: str, trail: list[str]) -> Iterator[list[str]]:
        if name in trail:
            yield trail[trail.index(name) :]
        elif name not in finished:
            for other in sorted(imports[name]):
                yield from visit(other, [*trail, name])
            finished.add(name)

    for name in imports:
        yield from visit(name, [])


def test_every_room_has_its_row():
    rooms = {room(name) for name in modules(ROOT)}
    assert set().union(*LEVELS) == rooms
    assert sum(map(len, LEVELS)) == len(rooms)


def test_imports_point_one_way():
    assert upward(ROOT) == []


def test_no_modules_import_each_other():
    assert list(circles(ROOT)) == []


@pytest.fixture
def copied(tmp_path):
    shutil.copytree(ROOT / "fitnets", tmp_path / "fitnets", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def plant(root: Path, module: str, line: str) -> None:
    with (root / "fitnets" / module).open("a") as file:
        file.write(f"\n\ndef planted():\n    {line}\n")


@pytest.mark.parametrize("line", ["from fitnets.training import loop", "import fitnets.training.loop"])
def test_an_import_that_points_up_is_found(copied, line):
    plant(copied, "data/splits.py", line)
    assert "fitnets.data.splits imports fitnets.training.loop" in upward(copied)


def test_a_circle_is_found(copied):
    plant(copied, "training/metrics.py", "from fitnets.training.stages import Stage")
    assert ["fitnets.training.metrics", "fitnets.training.stages"] in map(sorted, circles(copied))


def test_few_modules_lie_outside_a_room():
    assert len(list((ROOT / "fitnets").glob("*.py"))) <= 10


def test_no_module_takes_the_name_of_a_public_function():
    outside = {path.stem for path in (ROOT / "fitnets").iterdir()}
    assert not outside & RESERVED


def test_every_room_says_what_it_is_and_nothing_else():
    for path in (ROOT / "fitnets").rglob("__init__.py"):
        first, *rest = ast.parse(path.read_text()).body
        assert isinstance(first, ast.Expr), path
        assert not rest or path.parent.name in ("config", "fitnets"), f"{path} holds more than a docstring"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_stay_where_they_belong(path):
    place = str(path.relative_to(ROOT))
    for name in {name.split(".")[0] for name in imported(path)} & set(ONLY_IN):
        assert any(place.startswith(allowed) for allowed in ONLY_IN[name]), f"{place} imports {name}"
