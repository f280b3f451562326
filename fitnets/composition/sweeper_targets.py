"""The `_target_` values of this project's sweepers, present and former.

The sweepers used to be in a package `sweeps`. Its names are still in YAML files of users and in stored multirun.yaml
files, and remain accepted.
"""

STUDY = ("fitnets.sweeper.study.StudySweeper", "sweeps.study.StudySweeper")
GRID = ("fitnets.sweeper.grid.GridSweeper", "sweeps.grid.GridSweeper")
