"""Hydra's sweepers over Optuna: studies that many workers share, survive kills and end with a Pareto front.

The questions themselves are the YAML files of the folder `sweeps/`. Imports: experiment, planning,
composition, tracking, models (costs), store, console, config.
"""
