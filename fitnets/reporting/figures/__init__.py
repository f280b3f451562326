"""Matplotlib figures for papers and READMEs, drawn from the tables of `runs`, `tradeoff` and `studies`."""
