"""The command on a folder of images, beside k-means on the same pixels: python benchmarks/command.py --photos DIR

DIR has a folder for each class, whose name is used to score with, and by nothing else. The command is run as a user
would, ``deepcluster-sk cluster DIR --quick``; k-means gets the same images at the same 32 pixels. Results go to
benchmarks/results/command.json.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _results import scores, update_record
from sklearn.cluster import KMeans

from deepcluster_sk import DACClustering
from deepcluster_sk._input import read_input


def timed(function, *args):
    start = time.perf_counter()
    return function(*args), time.perf_counter() - start


def clustered(photos: str, n_clusters: int) -> tuple[list[str], np.ndarray]:
    """Paths and labels that the command writes."""
    with tempfile.TemporaryDirectory() as result:
        arguments = ["cluster", photos, "--n-clusters", str(n_clusters), "--quick", "--quiet", "--out", result]
        subprocess.run([sys.executable, "-m", "deepcluster_sk.cli", *arguments], check=True)
        with Path(result, "labels.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    return [row["path"] for row in rows], np.array([int(row["cluster"]) for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True)
    options = parser.parse_args()
    n_clusters = len([path for path in Path(options.photos).iterdir() if path.is_dir()])
    (paths, labels), seconds = timed(clustered, options.photos, n_clusters)
    y = np.unique([Path(path).parent.name for path in paths], return_inverse=True)[1]
    pixels = read_input(DACClustering(image_size=32), paths).rows.reshape(len(paths), -1) / np.float32(255)
    of_kmeans, seconds_of_kmeans = timed(KMeans(n_clusters, n_init=10, random_state=0).fit_predict, pixels)
    rows = {
        "deepcluster-sk cluster --quick": {**scores(y, labels), "seconds": seconds},
        "k-means on the pixels": {**scores(y, of_kmeans), "seconds": seconds_of_kmeans},
    }
    for name, row in rows.items():
        print(f"{name:32s} ACC {row['acc']:.3f}  NMI {row['nmi']:.3f}  {row['seconds']:6.1f} s")
    update_record("command", "photographs", rows, n_images=len(paths), torch_threads=torch.get_num_threads())


if __name__ == "__main__":
    main()
