"""Images and labels: sources, splits, preprocessing, augmentation.

`data.reading` decodes image files and Parquet tables. Imports: config, store, system.
"""
