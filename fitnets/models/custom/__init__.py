"""The user's own `nn.Module` as a teacher or student, in three steps.

`factory` imports and calls the user's factory and loads `weights`. `adapter` tries the module on two images, with
hooks on its layers, and wraps it as a `Network`. `wrapping` does all this and copies the result for each use.

Imports: models, data (preprocessing), store, config, system.
"""
