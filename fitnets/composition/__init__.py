"""Turns command-line overrides and YAML files into a checked `Config`, with Hydra.

Imports: config, checks, models (costs and layer pairs), data, store, system.
"""
