"""The terms of a method's loss: their options, what they read of student and teacher, their values.

It may import what comes before `terms` in the table of `fitnets/README.md`.
"""
