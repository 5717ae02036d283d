"""The cells of ``framework.py`` as a section of the page "Results"."""

import json
from typing import Any

import numpy as np
from _paper_claims import by_seed, verdict
from _paper_page import Cells, Table
from _results import RESULTS

TITLE = "DCSS as a general framework, the first 10,000 MNIST images (DCSS, Table 4)"
COMMAND = "python benchmarks/framework.py --data-dir DIR --seeds 0 1 2"
# Methods, with ACC/NMI in per cent that the paper reports on all 70,000 images, alone and with MNet.
PAPER = {
    "autoencoder": ((86.03, 80.25), None),
    "DEC": ((84.30, 83.72), (89.13, 86.97)),
    "IDEC": ((88.13, 83.81), (90.51, 85.42)),
    "DCN": ((83.00, 81.00), (87.49, 83.25)),
    "DKM": ((84.00, 81.54), (88.31, 84.52)),
}
SETTINGS = {"default settings": " + MNet", "the paper's settings": " + MNet, paper's settings"}


def read() -> Cells:
    """Cells that exist, seed by seed."""
    found = [json.loads(path.read_text()) for path in sorted((RESULTS / "framework").glob("*.json"))]
    return sorted(found, key=lambda cell: cell["seed"])


def percent(cells: Cells) -> str:
    """Mean ACC and NMI; a dash where there are no cells yet."""
    if not cells:
        return "–"
    return "/".join(f"{100 * np.mean([cell[key] for cell in cells]):.1f}" for key in ("acc", "nmi"))


def summary(cells: Cells) -> Table:
    """A line a method, alone and with MNet, in per cent over the seeds that all have, and what the paper reports."""
    lines = [
        ["", "seeds", "alone", *(f"with MNet, {name}" for name in SETTINGS), "seconds", "paper: alone", "with MNet"]
    ]
    for method, reported in PAPER.items():
        rows = [[cell for cell in cells if cell["row"] == method + suffix] for suffix in ("", *SETTINGS.values())]
        if not rows[0]:
            continue
        seeds = set.intersection(*({cell["seed"] for cell in mine} for mine in rows if mine))
        rows = [[cell for cell in mine if cell["seed"] in seeds] for mine in rows]
        seconds = (f"{np.mean([cell['seconds'] for cell in mine]):.0f}" if mine else "–" for mine in rows)
        figures = ("–" if pair is None else "{:.1f}/{:.1f}".format(*pair) for pair in reported)
        lines.append([method, str(len(seeds)), *map(percent, rows), ", ".join(seconds), *figures])
    return lines


def claims(cells: Cells) -> Table:
    """A line a method and setting: what MNet adds to its accuracy, and whether it does from every seed."""
    lines = [["claim", "points of ACC added, seed by seed", "paper", "clusters left", "seen"]]
    for name, suffix in SETTINGS.items():
        for method, (alone, with_mnet) in PAPER.items():
            less, more = (by_seed(cells, row, lambda cell: cell["acc"]) for row in (method, method + suffix))
            seeds = sorted(less.keys() & more.keys())
            if not seeds:
                continue
            gains = ", ".join(f"{100 * (more[seed] - less[seed]):+.1f}" for seed in seeds)
            paper = f"{with_mnet[0] - alone[0]:+.1f}" if with_mnet else "–"
            left = by_seed(cells, method + suffix, lambda cell: cell["report"]["n_clusters_used"])
            seen = verdict([less[seed] for seed in seeds], [more[seed] for seed in seeds])
            clusters = ", ".join(str(left[seed]) for seed in seeds)
            lines.append([f"{method} + MNet > {method}, {name}", gains, paper, clusters, seen])
    return lines


def epochs(cells: Cells) -> str:
    """How long everything was trained."""
    phases: dict[str, Any] = {cell["row"]: cell["epochs"] for cell in cells}
    return (
        f"From each seed one autoencoder, 784-500-500-2000-10, is trained for {phases['DEC']['pretraining']} epochs, "
        f"and is where all begin. Each method of ClustPy goes on for {phases['DEC']['clustering']} (its defaults: 100 "
        "and 150), and MNet takes over that very fit: its start is k-means in the latent space. By default settings "
        "phase 2 sees random transforms of the images, as no method alone does; by the paper's it has 20 epochs, no "
        "transforms, and an MNet of random weights. A method alone is scored by its own assignment, not by the last "
        "k-means of ClustPy. ACC/NMI in per cent, and processor seconds of each column, without those of what it "
        "starts from. The paper's figures are of all 70,000 images; its line for the autoencoder is AE + k-means, to "
        "which it adds no MNet. Confirmed: MNet was better from every seed; refuted: worse from every seed."
    )


def section() -> tuple[str, str, str, list[Table]] | None:
    """Title, command, note and tables; None where there are no cells."""
    cells = read()
    if not any(cell["row"].endswith(tuple(SETTINGS.values())) for cell in cells):
        return None
    return TITLE, COMMAND, epochs(cells), [summary(cells), claims(cells)]
