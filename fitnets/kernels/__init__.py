"""Loops for CPUs that the machine's C compiler compiles, and PyTorch's own operations wherever they cannot be had.

`library` compiles and loads the C files beside it. Imports PyTorch, and no other room.
"""
