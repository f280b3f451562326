"""The functions that `import fitnets` offers. They leave the process as they found it, and the commands call them too.

Imports: every room but reproduction, commands and cli.
"""
