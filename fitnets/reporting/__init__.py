"""What stored runs say: runs as tables, verdicts, trade-offs, figures and the page of `fitnets report`.

Reads files alone: imports neither PyTorch nor Hydra. Imports: sweeper (history), experiment (chance), console, config.
"""
