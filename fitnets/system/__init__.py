"""The process and its surroundings: standard streams, home folder, permissions, memory and disks that run out.

Imports nothing of the other rooms.
"""
