"""Handling of the process and its surroundings: standard streams, home folder, permissions, full disks and memory.

Imports no other room.
"""
