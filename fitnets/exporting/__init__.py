"""A finished student as files that run elsewhere (ONNX, torch.export), checked, measured and described.

Imports: experiment, planning, machine, models, data, store, console, config.
"""
