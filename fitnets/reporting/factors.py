"""Comparisons whose two sides differ in more than the method: in initial weights, normalisation or teacher."""

from collections.abc import Sequence
from functools import reduce

import pandas as pd

from fitnets.config.options import content_hash

FACTORS = {"initial_weights": "initial_weights", "normalization": "normalization", "teacher": "teacher_setting_hash"}
"""The column that tells the sides apart, by the name of the factor."""


def regrouped(frame: pd.DataFrame, differing: Sequence[str]) -> pd.DataFrame:
    """Copy rows of `runs.load` so that runs which differ in these factors are in one setting, as variants of their
    methods. Everything else must still be equal, and pairs are formed by seed.

    differing: names of FACTORS; without any, the rows are returned as they are

    Runs of versions that did not record what is needed are left out. The column `factors` describes each run in
    brackets: ' (lsuv, batch)'. The column `bare_method_hash` has the former `method_hash`.
    """
    if not differing:
        return frame
    equal = [column for name, column in FACTORS.items() if name not in differing]
    known = frame[frame["bare_setting_hash"].notna()].copy()
    known["setting_hash"] = _joined(known, ["bare_setting_hash", *equal])
    known["bare_method_hash"] = known["method_hash"]
    of_variant = _joined(known, ["method_hash", *(FACTORS[name] for name in differing)])
    known["method_hash"] = of_variant.map(content_hash).astype("string")
    described = ["teacher_name" if name == "teacher" else name for name in differing]
    known["factors"] = (" (" + _joined(known, described, ", ") + ")").astype("string")
    if "teacher" in differing:  # every side has teachers of its own
        known["teacher_hash"] = known["teacher_seed"].astype("string")
    return known


def _joined(frame: pd.DataFrame, columns: Sequence[str], separator: str = " ") -> pd.Series:
    first, *others = (frame[column].astype("string").fillna("none") for column in columns)
    return reduce(lambda joined, other: joined + separator + other, others, first)
