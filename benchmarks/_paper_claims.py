"""The orderings that the papers claim, held against the cells of ``paper_tables.py``."""

from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import numpy as np
from _paper_page import TITLES, Cells, Table, read

# The phase that tells a row from others.
PHASES = {
    **dict.fromkeys(("DAC*", "DAC"), "DAC"),
    **dict.fromkeys(("DCCM M1", "DCCM M2", "DCCM M3", "DCCM"), "DCCM"),
    **dict.fromkeys(("AE + k-means", "pretraining + k-means"), "pretraining"),
    **dict.fromkeys(("DCSS_agg", "DCSSu"), "phase 1"),
    "DCSS": "phase 2",
}
# Rows from the lowest to the highest.
ORDERINGS = (
    ("DAC*", "DAC"),
    ("DCCM M1", "DCCM M2", "DCCM M3", "DCCM"),
    ("AE + k-means", "DCSS_agg"),
    ("AE + k-means", "DCSSu"),
    ("pretraining + k-means", "DCSS_agg", "DCSSu"),
    ("pretraining + k-means", "DCSSu"),
    ("DCSSu", "DCSS"),
)
TABLES = (
    *("mnist-10k", "mnist-10k-paper", "fashion-mnist-10k", "fashion-mnist-10k-paper"),
    *("fashion-mnist", "2mnist", "one-network"),
)
BEST, OTHERS = "nearest-random", ("nearest-farthest", "random-random", "top-random")  # V1; V2, V3, V4
PAIR_SAMPLING: tuple[tuple[str, str, Callable[[dict[str, Any]], float]], ...] = (
    ("ACC", "DCCM, pair_sampling={}", lambda cell: cell["acc"]),
    ("classifier on features", "probe, {}", lambda cell: cell["probe"]["embedding"]),
)


def by_seed(cells: Cells, row: str, figure: Callable[[dict[str, Any]], float]) -> dict[int, float]:
    """A figure of each seed of a row."""
    return {cell["seed"]: figure(cell) for cell in cells if cell["row"] == row}


def verdict(lower: list[float], higher: list[float]) -> str:
    """Whether ``higher`` is the higher one from every seed, the lower one from every seed, or neither."""
    wins, losses = ([sign * more > sign * less for less, more in zip(lower, higher, strict=True)] for sign in (1, -1))
    return "confirmed" if all(wins) else "refuted" if all(losses) else "neither"


def reached(cells: Cells) -> Cells:
    """Those of ``cells`` that came to the phase which tells their row from others."""
    return [cell for cell in cells if cell.get("epochs", {}).get(PHASES.get(cell["row"]))]


def as_long(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two rows told by the same phase came to it for about as long."""
    phases = [PHASES[cell["row"]] for cell in (first, second)]
    if phases[0] != phases[1]:
        return True
    fewest, most = sorted(cell["epochs"][phases[0]] for cell in (first, second))
    return 2 * fewest >= most


def comparable(cells: Cells, rows: tuple[str, str]) -> Cells:
    """Cells of two rows from the seeds from which both were trained for about as long."""
    of_rows = ([cell for cell in reached(cells) if cell["row"] == row] for row in rows)
    pairs = [pair for pair in product(*of_rows) if pair[0]["seed"] == pair[1]["seed"] and as_long(*pair)]
    return [cell for pair in pairs for cell in pair]


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
        every = read(table)
        for lower, higher in (pair for ordering in ORDERINGS for pair in pairwise(ordering)):
            cells = comparable(every, (lower, higher))
            figures = [by_seed(cells, row, lambda cell: cell["acc"]) for row in (lower, higher)]
            lines += claim(TITLES[table], "ACC", (higher, lower), *figures)
    cells = read("pair-sampling")
    for other in OTHERS:
        for what, row, figure in PAIR_SAMPLING:
            figures = [by_seed(cells, row.format(name), figure) for name in (other, BEST)]
            lines += claim("digits", what, (BEST, other), *figures)
    return lines
