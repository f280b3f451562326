"""The store on disk: paths, complete files, locks, digests, earlier runs, the list of runs, and what may be removed.

Imports: config, system.
"""
