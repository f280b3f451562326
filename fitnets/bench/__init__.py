"""How fast training is, against plain PyTorch, the machine and peers.

Imports: experiment, planning, composition and all below them.
"""
