"""The pictures of the page "Results", from the cells of ``paper_tables.py``."""

import re
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from _results import RESULTS

matplotlib.use("agg")
import matplotlib.pyplot as plt

Cells = list[dict[str, Any]]
FOLDER = RESULTS.parent.parent / "docs" / "images"


def against(label: str, pattern: str) -> Callable[[Cells, Any], None]:
    """Accuracy of each method against the number that ``pattern`` finds in a cell's data and row."""

    def draw(cells: Cells, ax: Any) -> None:
        lines: dict[str, dict[float, list[float]]] = {}
        for cell in cells:
            value = float(re.search(pattern, f"{cell['data']} {cell['row']}").group(1))
            lines.setdefault(cell["row"].split(",")[0], {}).setdefault(value, []).append(cell["acc"])
        for name, points in lines.items():
            values = sorted(points)
            ax.plot(values, [np.mean(points[value]) for value in values], ".-", label=name)
        ax.set(xlabel=label, ylabel="ACC", ylim=(0, 1))
        ax.legend()

    return draw


def by_epoch(row: str, keys: tuple[str, ...], label: str) -> Callable[[Cells, Any], None]:
    """What was seen after each epoch."""

    def draw(cells: Cells, ax: Any) -> None:
        cell = next(cell for cell in cells if cell["row"] == row)
        for key in keys:
            ax.plot([record[key] for record in cell["by_epoch"]], ".-", label=key.replace("_", " "))
        phases = [record["phase"] for record in cell["by_epoch"]]
        for i in range(1, len(phases)):
            if phases[i] != phases[i - 1]:
                ax.axvline(i - 0.5, color="gray", linewidth=0.8, linestyle="--")
        ax.set(xlabel="epoch (" + ", ".join(dict.fromkeys(phases)) + ")", ylabel=label, ylim=(0, 1.02))
        ax.legend()

    return draw


def elements(cells: Cells, ax: Any) -> None:
    """Histograms of label features at the first epoch, the first of the method's own, and the last."""
    records = next(cell for cell in cells if cell["row"] == "elements of label features")["by_epoch"]
    own = next(i for i, record in enumerate(records) if record["phase"] == "DAC")
    for i, name in ((0, "first epoch"), (own, "first epoch of DAC"), (len(records) - 1, "last epoch")):
        ax.plot(np.arange(0.05, 1, 0.1), records[i]["share_of_bin"], ".-", label=name)
    ax.set(xlabel="element of a label feature", ylabel="share", yscale="log")
    ax.legend()


PICTURES = {
    "imbalance": [("imbalance", against("share r of class 0 that is kept", r"-r(0\.\d+)"))],
    "n-samples": [("n-samples", against("number of MNIST images", r"-first-(\d+)"))],
    "n-clusters": [("n-clusters", against("number of clusters; there are 10 classes", r"n_clusters=(\d+)"))],
    "growing-k": [("growing-k", against("number of classes", r"(\d+) classes"))],
    "by-epoch": [
        ("bcubed", by_epoch("BCubed of the pseudo-graph", ("precision", "recall"), "BCubed of the pseudo-graph")),
        ("elements", elements),
        (
            "without-neighbor",
            by_epoch(
                "samples without a neighbour", ("share_without_neighbor",), "share of samples without a neighbour"
            ),
        ),
    ],
}


# Pictures that show one row each wait until all of their table are there.
N_CELLS = {"by-epoch": 3}


def draw(table: str, cells: Cells) -> list[str]:
    """Draw the pictures of a table; return their paths from the page."""
    paths = []
    for name, picture in PICTURES.get(table, []) if len(cells) >= N_CELLS.get(table, 0) else []:
        figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
        picture(cells, ax)
        figure.savefig(FOLDER / f"paper-{name}.png", dpi=120, metadata={"Software": None})
        plt.close(figure)
        paths.append(f"images/paper-{name}.png")
    return paths
