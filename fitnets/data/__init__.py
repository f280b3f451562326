"""Images and labels: their origin, splits, preprocessing and augmentation.

`data.reading` finds and decodes image files and Parquet tables. Imports: config, kernels, store, system.
"""
