"""The user's own `nn.Module` as a teacher or student, in four steps.

`imports` imports the factory. `factory` calls it and loads `weights`. `adapter` tries the module on two images, with
hooks on its layers, and wraps it as a `Network`. `wrapping` does all this and copies the result for each use.

Imports: models, data (preprocessing), store, config, system.
"""
