"""From command-line overrides and YAML files to a checked `Config`; the side of the project that knows Hydra.

Imports: config, checks, models (costs and layer pairs), data, store, system.
"""
