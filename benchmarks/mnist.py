"""The three default estimators on the first 10,000 MNIST images: python benchmarks/mnist.py --data mnist.npz

The file holds arrays X (n, 28, 28) uint8 and y (n,). Results go to benchmarks/results/.
"""

import argparse
import time

import numpy as np
from _results import fit_cell, kmeans_cells, save

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="an .npz file with X and y")
    parser.add_argument("--n-samples", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--name", default="mnist", help="of the results file")
    options = parser.parse_args()
    start = time.perf_counter()
    data = np.load(options.data)
    X, y = data["X"][: options.n_samples], data["y"][: options.n_samples]
    cells = kmeans_cells(X, y, options.seeds)
    for method in (DACClustering, DCCMClustering, DCSSClustering):
        for seed in options.seeds:
            cells.append(fit_cell(method.__name__, seed, method(random_state=seed), X, y))
    save(options.name, cells)
    print(f"the whole run took {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
