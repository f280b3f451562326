"""Reads image folders and Parquet tables: which files there are, and every image of them decoded once.

Imports: config, store, system; of `data` the draws alone.
"""
