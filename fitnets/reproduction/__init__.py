"""The paper's tables and figures, run again: the runs that they consist of, how long these take, and their results.

Imports: reporting, experiment, planning, composition and all below them.
"""
