"""Results on disk: whole files, locks, digests, earlier runs, the inventory, and what may be removed.

Imports: config, system.
"""
