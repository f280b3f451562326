"""One run, from its plan to `result.json`; evaluation and prediction with what it trained.

Imports: planning, training, machine, models, data, tracking, store, console, config, system.
"""
