"""Methods and stages that earlier versions had options of their own for.

They are still hashed as those options were, so that runs which were stored before are found.
"""

from typing import Any

from fitnets.config import Config, Method, Ramp, SeveralPairs
from fitnets.config import methods as former
from fitnets.config.methods import Table
from fitnets.config.options import restore
from fitnets.terms import registry

_OPTIONS: list[dict[str, Any]] = [
    {"_type_": "Hints"},
    {"_type_": "Distill"},
    {"_type_": "Backprop"},
    {"_type_": "Mimic"},
    *(
        {"_type_": "LabelHints", "staged": staged, "whole": whole}
        for staged in (True, False)
        for whole in ("labels", "kd")
    ),
]
"""options as they were hashed, of methods without a weight"""


def option_of(config: Config) -> dict[str, Any] | None:
    """The option that earlier versions hashed for the configuration's method; None if they could not express it."""
    method = config.method
    candidates = [*_OPTIONS]
    options = registry.given_options(method, "student")
    weights = {name: one.weight for name, one in options.items() if not isinstance(one.weight, Ramp)}
    if "label_hint" in weights:
        candidates.append({"_type_": "DeeplySupervised", "weight": weights["label_hint"]})
    if "hint" in weights:
        for distill in (False, True):
            candidates.append({"_type_": "Joint", "hint_weight": weights["hint"], "distill": distill})
    for candidate in candidates:
        if _tables(restore(candidate)) == _tables(method):
            has_pair = candidate["_type_"] in ("Hints", "LabelHints", "Joint")
            return None if has_pair and isinstance(config.hint_layer, SeveralPairs) else candidate
    return None


def has_hint_stage(config: Config) -> bool:
    """Return whether stage 1 is that of the paper, with one pair of layers."""
    return _is_stage_1_of(config, former.hints())


def has_label_stage(config: Config) -> bool:
    """Return whether stage 1 learns the labels at one guided layer."""
    return _is_stage_1_of(config, former.label_hints())


def _is_stage_1_of(config: Config, method: Method) -> bool:
    if isinstance(config.hint_layer, SeveralPairs):
        return False
    return _tables_of(config.method, "hint") == _tables_of(method, "hint")


def _tables(method: Method) -> dict[str, dict[str, Table]]:
    return {stage: _tables_of(method, stage) for stage in method.stages}


def _tables_of(method: Method, stage: str) -> dict[str, Table]:
    """The complete tables of a stage's terms, those of weight 0 included."""
    return {name: registry.table_of(one) for name, one in registry.given_options(method, stage).items()}
