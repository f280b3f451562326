"""Hydra's sweepers: studies with Optuna, which many workers share and which end with a Pareto front, and plain grids.

The questions that the studies answer are the YAML files of `sweeps/`. Imports: experiment, planning, composition,
tracking, models (costs), store, console, config.
"""
