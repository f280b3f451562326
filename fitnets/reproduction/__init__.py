"""The paper's tables and figures, run again: which runs they consist of, how long these take, what came of them.

Imports: reporting, experiment, planning, composition and all below them.
"""
