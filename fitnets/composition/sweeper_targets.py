"""The `_target_` of this project's sweepers, the former ones too.

The sweepers once lived in a package `sweeps`. Its names still stand in the YAML files of users and in stored
multirun.yaml files, and are accepted there.
"""

STUDY = ("fitnets.sweeper.study.StudySweeper", "sweeps.study.StudySweeper")
GRID = ("fitnets.sweeper.grid.GridSweeper", "sweeps.grid.GridSweeper")
