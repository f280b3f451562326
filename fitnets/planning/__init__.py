"""A run before it begins: its plan, its hashes, its expected time, how ready its teacher is, and `fitnets doctor`.

Imports: training, machine, models, data, store, config.
"""
