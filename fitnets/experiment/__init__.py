"""One run, from its plan to `result.json`, and evaluation and prediction with the networks that it trained.

Imports: planning, training, machine, models, data, tracking, store, console, config, system.
"""
