"""Finds the files of image folders and Parquet tables, and decodes every image in them once.

Imports: config, store, system; nothing else of `data`.
"""
