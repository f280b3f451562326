"""The machine that trains: its device, precision and latencies, and the record of its environment.

Imports: models, store, config.
"""
