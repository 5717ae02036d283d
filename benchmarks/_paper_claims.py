"""The orderings that the papers claim, held against the cells of ``paper_tables.py``."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from _paper_page import TITLES, Cells, Table, read

# Rows from the lowest to the highest, and the phase that tells each from the one before it.
ORDERINGS = (
    (("DAC*", "DAC"), "DAC"),
    (("DCCM M1", "DCCM M2", "DCCM M3", "DCCM"), "DCCM"),
    (("AE + k-means", "DCSS_agg"), "phase 1"),
    (("AE + k-means", "DCSSu"), "phase 1"),
    (("pretraining + k-means", "DCSS_agg", "DCSSu"), "phase 1"),
    (("DCSSu", "DCSS"), "phase 2"),
)
TABLES = (
    *("mnist-10k", "mnist-10k-paper", "fashion-mnist-10k", "fashion-mnist-10k-paper"),
    *("fashion-mnist", "2mnist", "one-network"),
)
BEST, OTHERS = "nearest-random", ("nearest-farthest", "random-random", "top-random")  # V1; V2, V3, V4


def by_seed(cells: Cells, row: str, figure: Callable[[dict[str, Any]], float]) -> dict[int, float]:
    """A figure of each seed of a row."""
    return {cell["seed"]: figure(cell) for cell in cells if cell["row"] == row}


def verdict(lower: list[float], higher: list[float]) -> str:
    """Whether ``higher`` is the higher one from every seed, the lower one from every seed, or neither."""
    wins, losses = ([sign * more > sign * less for less, more in zip(lower, higher, strict=True)] for sign in (1, -1))
    return "confirmed" if all(wins) else "refuted" if all(losses) else "neither"


def reached(cells: Cells, row: str, phase: str) -> Cells:
    """Those of ``cells`` of other rows, and those of this one that came to the phase."""
    return [cell for cell in cells if cell["row"] != row or cell["epochs"].get(phase)]


def claim(where: str, what: str, names: tuple[str, str], lower: dict[int, float], higher: dict[int, float]) -> Table:
    """A line on ``names``, the higher first, over the seeds that both rows have; none if there are none."""
    seeds = sorted(lower.keys() & higher.keys())
    if not seeds:
        return []
    less, more = ([figures[seed] for seed in seeds] for figures in (lower, higher))
    means = f"{np.mean(more):.4f}, {np.mean(less):.4f}"
    return [[where, f"{names[0]} > {names[1]}, {what}", str(len(seeds)), means, verdict(less, more)]]


def claims() -> Table:
    """A line a claimed step from one row to a higher one."""
    lines = [["where", "claim", "seeds", "means", "seen"]]
    for table in TABLES:
        for ordering, phase in ORDERINGS:
            for lower, higher in pairwise(ordering):
                cells = reached(read(table), higher, phase)
                figures = [by_seed(cells, row, lambda cell: cell["acc"]) for row in (lower, higher)]
                lines += claim(TITLES[table], "ACC", (higher, lower), *figures)
    cells = read("pair-sampling")
    for other in OTHERS:
        fits = [by_seed(cells, f"DCCM, pair_sampling={name}", lambda cell: cell["acc"]) for name in (other, BEST)]
        lines += claim("digits", "ACC", (BEST, other), *fits)
        probes = [by_seed(cells, f"probe, {name}", lambda cell: cell["probe"]["embedding"]) for name in (other, BEST)]
        lines += claim("digits", "classifier on features", (BEST, other), *probes)
    return lines
