"""The subcommands of `fitnets`, one module each, with `main(words)` and its help line as the docstring.

Only the module of the called command is imported. Imports: every room.
"""
