"""The paper's published results (Romero et al., 2015), to be shown beside ours."""

import pandas as pd

_M, _K = 1e6, 1e3
PUBLISHED = pd.DataFrame(
    [
        ("cifar10", "teacher", "maxout_cifar10", 90.18, 9 * _M, 725 * _M, "Table 5"),
        ("cifar10", "hints", "fitnet1", 89.01, 250 * _K, 30 * _M, "Table 5"),
        ("cifar10", "hints", "fitnet2", 91.06, 862 * _K, 108 * _M, "Table 5"),
        ("cifar10", "hints", "fitnet3_table5", 91.10, 1.6 * _M, 392 * _M, "Table 5"),
        ("cifar10", "hints", "fitnet4", 91.61, 2.5 * _M, 382 * _M, "Tables 1 and 5"),
        ("cifar10", "dsn", "fitnet4", 88.2, 2.5 * _M, 382 * _M, "section 3.1"),
        ("cifar100", "teacher", "maxout_cifar100", 63.54, 9 * _M, None, "Table 2"),
        ("cifar100", "hints", "fitnet4", 64.96, 2.5 * _M, None, "Table 2"),
        ("svhn", "teacher", "maxout_svhn", 97.62, 4.9 * _M, None, "Table 3"),
        ("svhn", "hints", "fitnet3", 97.58, 1.5 * _M, None, "Table 3"),
        ("mnist", "teacher", "maxout_mnist", 99.45, 361 * _K, None, "Table 4"),
        ("mnist", "backprop", "fitnet_mnist", 98.1, 30 * _K, None, "Table 4"),
        ("mnist", "kd", "fitnet_mnist", 99.35, 30 * _K, None, "Table 4"),
        ("mnist", "hints", "fitnet_mnist", 99.49, 30 * _K, None, "Table 4"),
        ("aflw", "teacher", "relu_aflw", 95.79, None, None, "section 3.4, on validation"),
        ("aflw", "kd", "fitnet_aflw1", 95.42, None, None, "section 3.4, on validation"),
        ("aflw", "hints", "fitnet_aflw1", 97.45, None, None, "section 3.4, on validation"),
        ("aflw", "kd", "fitnet_aflw2", 98.05, None, None, "section 3.4, on validation"),
        ("aflw", "hints", "fitnet_aflw2", 98.15, None, None, "section 3.4, on validation"),
    ],
    columns=["dataset", "method", "network", "accuracy", "paper_parameters", "paper_multiplications", "source"],
)
"""Accuracies and costs of the paper's teachers and FitNets.

method: a method's name, or `teacher`
network: the name of the network in this project
accuracy: in %, of a single run, on test unless the source says otherwise
paper_parameters, paper_multiplications: as the paper counts and rounds them
"""
TABLE_5 = {
    "fitnet1": ("250K", "30M", "13.36", "36"),
    "fitnet2": ("862K", "108M", "4.64", "10.44"),
    "fitnet3_table5": ("1.6M", "392M", "1.37", "5.62"),
    "fitnet4": ("2.5M", "382M", "1.52", "3.60"),
}
"""Parameters, multiplications, speed-up and compression of each FitNet as Table 5 prints them. The speed-up is that of
a GPU, for all CIFAR-10 test images."""


def points(dataset: str, cost: str) -> pd.DataFrame:
    """The published results on a data set whose cost the paper gives; empty for costs that it does not count."""
    if cost not in PUBLISHED.columns:
        return PUBLISHED.iloc[:0]
    return PUBLISHED[(PUBLISHED["dataset"] == dataset) & PUBLISHED[cost].notna()]
