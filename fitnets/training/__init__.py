"""How networks learn: losses, stages, methods, schedules, optimisers, the teacher cache, and the one training loop.

Imports: models, data, store, config, system.
"""
