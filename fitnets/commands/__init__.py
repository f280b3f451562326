"""The subcommands of `fitnets`, a module with `main(words)` each.

The one that is called is imported, and no other. Imports: every room.
"""
