"""Training: losses, stages, methods, schedules, optimisers, checkpoints, the teacher cache, and the one training loop.

Imports: models, data, store, config, system.
"""
