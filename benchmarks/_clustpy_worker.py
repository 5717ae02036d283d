"""One fit of a ClustPy method by its default settings; ``rivals.py`` runs this with the Python that has ClustPy.

Says "ready" once libraries and samples are loaded, waits for a line, fits, and writes the labels.
"""

import sys

import numpy as np
import torch
from clustpy import deep


def main() -> None:
    method, n_clusters, seed, threads, samples, labels = sys.argv[1:]
    torch.set_num_threads(int(threads))
    X = np.load(samples)["X"]
    model = getattr(deep, method)(n_clusters=int(n_clusters), random_state=int(seed))
    print("ready", flush=True)
    input()
    np.save(labels, model.fit(X).labels_)


if __name__ == "__main__":
    main()
