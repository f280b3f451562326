"""Exports a finished student as files that run elsewhere (ONNX, torch.export), checks, times and describes them.

Imports: experiment, planning, machine, models, data, store, console, config.
"""
