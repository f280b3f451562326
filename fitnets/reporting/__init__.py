"""Tables, verdicts, trade-offs, figures and the page of `fitnets report`, made from stored runs.

This room only reads files and imports neither PyTorch nor Hydra. It imports sweeper (history), experiment (chance),
console and config.
"""
