"""Weights & Biases as a mirror of the run directory.

The only room that imports wandb. Imports: store, config, system.
"""
