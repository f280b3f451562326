"""Run directories as a DataFrame."""

import json
from pathlib import Path

import pandas as pd


def load(store: Path) -> pd.DataFrame:
    """A row for each `run/*/result.json` of a store; nested keys are joined by dots (`student.valid_error`).

    Units are those of `result.json`. Runs that are not finished have their `status` and `error`, and NaN elsewhere."""
    paths = [path for path in sorted(store.glob("run/*/result.json")) if not path.parent.name.startswith(".")]
    results = {path.parent.name: json.loads(path.read_text()) for path in paths}
    frame = pd.json_normalize(list(results.values()))
    frame.insert(0, "run", list(results))
    return frame
