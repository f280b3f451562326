"""Output for people: the terminal, tables, Markdown, and numbers with their units.

Imports no other room.
"""
