"""FitNets: train thin deep students from big teachers with hints (Romero et al., ICLR 2015, arXiv:1412.6550)."""
