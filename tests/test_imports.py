"""Imports point one way, and the heavy libraries stay where they belong."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT

LAYERS = [  # each module imports from rows above it only
    {"options", "seeds"},
    {"config"},
    {"rules", "layers", "losses", "schedules", "store"},
    {"networks", "data", "optimizers", "tracking"},
    {"build", "costs", "metrics"},
    {"objectives"},
    {"loop", "engine"},
    {"terminal", "plan"},
    {"report"},
    {"experiment"},
    {"compose"},
    {"cli"},
]
ONLY_IN = {
    "hydra": {"fitnets/compose.py", "run.py", "sweeps/__init__.py"},
    "omegaconf": {"fitnets/compose.py", "run.py", "sweeps/__init__.py"},
    "wandb": {"fitnets/tracking.py"},
    "datasets": {"fitnets/data.py"},
    "sklearn": {"fitnets/data.py"},
    "rich": {"fitnets/terminal.py"},
    "pandas": {"analysis/"},
    "matplotlib": {"analysis/"},
    "optuna": {"sweeps/"},
}
SOURCES = [
    ROOT / "run.py",
    *sorted(path for name in ("fitnets", "sweeps", "analysis") for path in (ROOT / name).glob("*.py")),
]


def imported(path: Path) -> set[str]:
    """Every module that a file imports, inside functions too; `from fitnets import data` counts as fitnets.data."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def test_every_module_has_its_place():
    assert set().union(*LAYERS) == {path.stem for path in (ROOT / "fitnets").glob("*.py")} - {"__init__"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    own = {name.split(".")[1] for name in imported(path) if name.startswith("fitnets.")}
    if path.parent.name == "fitnets" and path.stem != "__init__":
        row = next(index for index, layer in enumerate(LAYERS) if path.stem in layer)
        allowed = set().union(*LAYERS[:row])
        assert own & set().union(*LAYERS) <= allowed
    if path.parent.name == "analysis":
        assert not own  # results are read from files


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_stay_where_they_belong(path):
    place = str(path.relative_to(ROOT))
    for name in {name.split(".")[0] for name in imported(path)} & set(ONLY_IN):
        assert any(place.startswith(allowed) for allowed in ONLY_IN[name]), f"{place} imports {name}"
