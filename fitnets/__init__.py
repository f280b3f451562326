"""FitNets: thin deep students from big teachers, by hints (Romero et al., ICLR 2015, arXiv:1412.6550)."""
