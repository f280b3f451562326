"""What a person reads: the terminal, tables, Markdown, and numbers with their units.

Imports nothing of the other rooms.
"""
