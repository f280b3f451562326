"""The user's own `nn.Module` as a teacher or student: imported, built, tried on two images, adapted.

Imports: models, data (preprocessing), store, config, system.
"""
