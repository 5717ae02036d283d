"""DAC by default settings on all of MNIST, and how it gets there: python benchmarks/curve.py --data mnist.npz

The file holds arrays X (70000, 28, 28) uint8 and y (70000,). After each epoch the accuracy on 10,000 images is noted
for the picture docs/images/mnist-curve.png; the clock stands still meanwhile. Results go to benchmarks/results/.
"""

import argparse
import time

import matplotlib
import numpy as np
from _results import RESULTS, scores, summarize, write_record

from deepcluster_sk import DACClustering
from deepcluster_sk.metrics import clustering_accuracy_score

matplotlib.use("agg")
import matplotlib.pyplot as plt

PICTURE = RESULTS.parent.parent / "docs" / "images" / "mnist-curve.png"


class Curve:
    """Callback that notes seconds of training and accuracy after each epoch."""

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        self.X, self.y = X, y

    def setup(self, estimator, context):
        self.start, self.points = time.perf_counter(), []

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name != "epoch":
            return
        now = time.perf_counter()
        acc = clustering_accuracy_score(self.y, fitted_estimator.predict(self.X))
        self.points.append({"seconds": now - self.start, "acc": acc})
        self.start += time.perf_counter() - now


def measure(X: np.ndarray, y: np.ndarray, seed: int) -> dict:
    shown = np.random.default_rng(0).permutation(len(X))[:10_000]
    curve = Curve(X[shown], y[shown])
    dac = DACClustering(random_state=seed).set_callbacks(curve)
    dac.fit(X)
    seconds = time.perf_counter() - curve.start  # looking at the accuracy moved the start
    phases = [record["phase"] for record in dac.history_]
    points = [{**point, "phase": phase} for point, phase in zip(curve.points, phases, strict=True)]
    cell = {"method": "DACClustering", "seed": seed, "seconds": seconds, **scores(y, dac.labels_), "curve": points}
    print(
        f"seed {seed}  ACC {cell['acc']:.4f}  NMI {cell['nmi']:.4f}  ARI {cell['ari']:.4f}  {seconds:.0f} s", flush=True
    )
    return cell


def draw(cells: list[dict]) -> None:
    _, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for i, cell in enumerate(cells):
        seconds = [point["seconds"] for point in cell["curve"]]
        ax.plot(seconds, [point["acc"] for point in cell["curve"]], ".-", color=f"C{i}", label=f"seed {cell['seed']}")
    ax.axhline(0.97, color="gray", linewidth=0.8, linestyle="--")
    ax.set(xlabel="seconds of training", ylabel="accuracy", ylim=(0, 1), xlim=(0, None))
    ax.set_title(f"DACClustering() on {cells[0]['n_samples']:,} MNIST images")
    ax.legend(loc="lower right")
    PICTURE.parent.mkdir(exist_ok=True)
    plt.savefig(PICTURE, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="an .npz file with X and y")
    parser.add_argument("--n-samples", type=int, default=70_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--name", default="mnist-70k", help="of the results file")
    options = parser.parse_args()
    data = np.load(options.data)
    X, y = data["X"][: options.n_samples], data["y"][: options.n_samples]
    cells = []
    for seed in options.seeds:
        cells.append({**measure(X, y, seed), "n_samples": len(X)})
        write_record(options.name, cells=cells, summary=summarize(cells))
        draw(cells)


if __name__ == "__main__":
    main()
