"""The machine that trains: device, precision, latencies, and the record of its environment.

Imports: models, store, config.
"""
