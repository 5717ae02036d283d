"""The three estimators on scikit-learn's 1,797 digits, beside k-means: python benchmarks/digits.py

Default settings over seeds 0 to 9, then the papers' settings over seeds 0 to 2, each of these fits ended at ten
minutes. ``--defaults-only`` leaves the second part out. Results go to benchmarks/results/.
"""

import argparse

from _methods import default
from _paper import enlarge, paper_estimator
from _results import TimeLimit, fit_cell, save
from sklearn.datasets import load_digits

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--paper-seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--paper-methods", nargs="+", default=["DAC", "DCCM", "DCSS"])
    parser.add_argument("--paper-minutes", type=float, default=10.0)
    parser.add_argument("--defaults-only", action="store_true")
    parser.add_argument("--paper-only", action="store_true")
    options = parser.parse_args()
    images, y = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8)

    if not options.paper_only:
        cells = [fit_cell("k-means", seed, default("k-means", 10, seed), images, y) for seed in options.seeds]
        for method in (DACClustering, DCCMClustering, DCSSClustering):
            for seed in options.seeds:
                cells.append(fit_cell(method.__name__, seed, method(random_state=seed), images, y))
        save("digits", cells)
    if not options.defaults_only:
        for method in options.paper_methods:
            cells = []
            for seed in options.paper_seeds:
                estimator = paper_estimator(method, seed)
                estimator.set_callbacks(TimeLimit(60 * options.paper_minutes))
                X = enlarge(images, 32 if method == "DCCM" else 28)
                cells.append(fit_cell(f"{method}, paper settings", seed, estimator, X, y))
                save(f"digits-paper-{method.lower()}", cells)


if __name__ == "__main__":
    main()
