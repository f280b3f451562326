"""A run before it trains: its plan, its hashes, its duration, the accuracy of a ready teacher, and `fitnets doctor`.

Imports: training, machine, models, data, store, config.
"""
