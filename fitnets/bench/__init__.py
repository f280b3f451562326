"""Times training, beside plain PyTorch, the machine's peak and other frameworks.

Imports: experiment, planning, composition and all below them.
"""
