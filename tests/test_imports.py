"""Imports point one way, and the heavy libraries stay where they belong."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT

LAYERS = [  # each module imports from rows above it only
    {"options", "seeds", "labelled", "pictures", "stopping", "measures", "tables", "places"},
    {"config"},
    {"architectures", "stored", "layers", "losses", "schedules", "preprocessing", "views"},
    {"artifacts", "resources"},
    {"store", "pointwise", "foreign"},
    {
        "inventory",
        "rules",
        "residual",
        "terms",
        "networks",
        "folder",
        "optimizers",
        "tracking",
        "aflw",
        "checkpoints",
        "digests",
        "weights",
    },
    {"custom"},
    {"build", "sources"},
    {"data", "teachers"},
    {"metrics", "costs", "answers"},
    {"diagnostics", "pairs"},
    {"objectives"},
    {"methods", "state", "engine"},
    {"evaluation"},
    {"loop"},
    {"terminal", "plan"},
    {"estimates", "readiness"},
    {"report", "results", "doctor"},
    {"experiment"},
    {"bench", "export"},
    {"compose"},
    {"reproduction"},
    {"commands"},
    {"cli"},
]
ONLY_IN = {
    "hydra": {"fitnets/compose.py", "run.py", "sweeps/"},
    "omegaconf": {"fitnets/compose.py", "run.py", "sweeps/"},
    "wandb": {"fitnets/tracking.py"},
    "onnx": {"fitnets/export/"},
    "onnxruntime": {"fitnets/export/"},
    "datasets": {"fitnets/sources.py", "fitnets/aflw.py"},
    "sklearn": {"fitnets/sources.py"},
    "rich": {"fitnets/terminal.py"},
    "pandas": {"analysis/"},
    "matplotlib": {"analysis/"},
    "optuna": {"sweeps/"},
}
SOURCES = [
    ROOT / "run.py",
    *sorted(path for name in ("fitnets", "sweeps", "analysis") for path in (ROOT / name).rglob("*.py")),
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


def module_of(path: Path) -> str:
    """The module, or the package that it is part of."""
    return path.relative_to(ROOT / "fitnets").with_suffix("").parts[0]


def test_every_module_has_its_place():
    assert set().union(*LAYERS) == {module_of(path) for path in (ROOT / "fitnets").rglob("*.py")} - {"__init__"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    own = {name.split(".")[1] for name in imported(path) if name.startswith("fitnets.")}
    if path.is_relative_to(ROOT / "fitnets") and path != ROOT / "fitnets" / "__init__.py":
        row = next(index for index, layer in enumerate(LAYERS) if module_of(path) in layer)
        package = path.relative_to(ROOT / "fitnets").parts[:-1]
        allowed = set().union(*LAYERS[:row], package)
        assert own & set().union(*LAYERS) <= allowed
    if path.parent.name == "analysis":
        assert not own  # results are read from files


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_stay_where_they_belong(path):
    place = str(path.relative_to(ROOT))
    for name in {name.split(".")[0] for name in imported(path)} & set(ONLY_IN):
        assert any(place.startswith(allowed) for allowed in ONLY_IN[name]), f"{place} imports {name}"
