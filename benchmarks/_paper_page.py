"""The cells of ``paper_tables.py`` as tables of the page "Results"."""

import json
import re
from collections.abc import Callable
from itertools import combinations
from typing import Any

import _paper_pictures
import numpy as np
from _analyses import CRITERIA
from _paper_texts import COMMAND, FIGURES, NOTES, OVERVIEW, RUN_BEFORE, SETTLED, TITLES
from _results import RESULTS
from paper_tables import cells as planned
from scipy.stats import spearmanr

PAPER = RESULTS / "paper"
Cells = list[dict[str, Any]]
Table = list[list[str]]


def read(table: str) -> Cells:
    """Cells of a table that exist, in the order they are planned in, and then any others."""
    found = sorted((PAPER / table).glob("*.json"))
    order = {cell.path.name: i for i, cell in enumerate(planned([0, 1, 2]).get(table, []))}
    return [json.loads(path.read_text()) for path in sorted(found, key=lambda path: order.get(path.name, len(order)))]


def summary(table: str, cells: Cells) -> Table:
    """A line a row: mean, spread and worst over seeds, and the paper's figures."""
    several = len({cell["data"] for cell in cells}) > 1
    base = cells[0]["data"].split("-first-")[0]
    header = [
        "",
        "seeds",
        "ACC mean",
        "± std",
        "ACC worst",
        "NMI",
        "ARI",
        "mean seconds",
        "threads",
        "paper's ACC/NMI in %",
    ]
    lines = [header]
    for data, row in dict.fromkeys((cell["data"], cell["row"]) for cell in cells):
        mine = [cell for cell in cells if (cell["data"], cell["row"]) == (data, row)]
        acc = np.array([cell["acc"] for cell in mine])
        lines.append(
            [
                f"{data}: {row}" if several else row,
                str(len(mine)),
                f"{acc.mean():.4f}",
                f"{acc.std(ddof=1):.4f}" if len(acc) > 1 else "–",
                f"{acc.min():.4f}",
                *(f"{np.mean([cell[key] for cell in mine]):.4f}" for key in ("nmi", "ari")),
                f"{np.mean([cell['seconds'] for cell in mine]):.0f}",
                ", ".join(sorted({str(cell["hardware"]["torch_threads"]) for cell in mine})),
                FIGURES.get(base, {}).get(row, "") if table in (base, f"{base}-10k") or "paper" in table else "",
            ]
        )
    return lines


def overview() -> Table:
    """Mean ACC and NMI in per cent of the methods on whole data sets, and the papers' in brackets."""
    methods = ("k-means", "DAC", "DCCM", "DCSS")
    lines = [["", "seeds", *methods, "longest fit of any"]]
    for table, title in OVERVIEW.items():
        rows = {method: [cell for cell in read(table) if cell["row"] == method] for method in methods}
        if not all(rows.values()):
            continue
        line = [title, str(max(len(mine) for mine in rows.values()))]
        for method, mine in rows.items():
            figures = "/".join(f"{100 * np.mean([cell[key] for cell in mine]):.1f}" for key in ("acc", "nmi"))
            reported = FIGURES.get(table, {}).get(method)
            line.append(f"{figures} ({reported})" if reported else figures)
        longest = max((cell for mine in rows.values() for cell in mine), key=lambda cell: cell["seconds"])
        n_threads = longest["hardware"]["torch_threads"]
        lines.append([*line, f"{longest['seconds'] / 60:.0f} min, {n_threads} thread{'s' * (n_threads > 1)}"])
    return lines


def epochs_reached(cells: Cells) -> list[str]:
    """A line a cell, with the epochs of each phase that it came to."""
    return [
        f"- {cell['row']}, seed {cell['seed']}: "
        + ", ".join(f"{phase} {n}" for phase, n in cell.get("epochs", {}).items())
        for cell in cells
        if "epochs" in cell
    ]


def probes(cells: Cells) -> Table:
    """Accuracy of classifiers on frozen features."""
    lines = [["", "features", "seeds", "held-out accuracy", "worst"]]
    for row in dict.fromkeys(cell["row"] for cell in cells if "probe" in cell):
        mine = [cell["probe"] for cell in cells if cell["row"] == row]
        for key in mine[0]:
            accuracies = [probe[key] for probe in mine]
            lines.append([row, key, str(len(mine)), f"{np.mean(accuracies):.4f}", f"{min(accuracies):.4f}"])
    return lines


def clusterers(cells: Cells) -> Table:
    """Scores of other clusterers."""
    found = [cell["clusterers"] for cell in cells]
    keys = ("acc", "nmi", "ari")
    return [
        ["", "ACC", "NMI", "ARI"],
        *([name, *(f"{np.mean([each[name][key] for each in found]):.4f}" for key in keys)] for name in found[0]),
        ["DAC itself", *(f"{np.mean([cell[key] for cell in cells]):.4f}" for key in keys)],
    ]


def by_epoch(cells: Cells) -> Table:
    """What was seen at the first, the middle and the last epoch of each phase."""
    lines = [["", "phase", "epoch", "seen"]]
    for cell in cells:
        for phase in dict.fromkeys(record["phase"] for record in cell["by_epoch"]):
            mine = [record for record in cell["by_epoch"] if record["phase"] == phase]
            for record in [mine[i] for i in sorted({0, len(mine) // 2, len(mine) - 1})]:
                seen = {key: value for key, value in record.items() if key not in ("phase", "epoch")}
                text = ", ".join(f"{key.replace('_', ' ')} {np.round(value, 3)}" for key, value in seen.items())
                lines.append([cell["row"], phase, str(record["epoch"] + 1), text])
    return lines


def _by_default(cell: dict[str, Any]) -> bool:
    return "without warm-up" not in cell["row"]


# Cells of the criteria that are averaged together.
GROUPS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "mean of those it was settled on, default start": lambda cell: cell["data"] in SETTLED and _by_default(cell),
    "mean of those it was settled on, without warm-up": lambda cell: cell["data"] in SETTLED and not _by_default(cell),
    "mean of the others, default start": lambda cell: cell["data"] not in SETTLED and _by_default(cell),
    "mean of the others, without warm-up": lambda cell: cell["data"] not in SETTLED and not _by_default(cell),
    "mean of the others that were not run when it was settled": lambda cell: (
        cell["data"] not in SETTLED and not (cell["data"] in RUN_BEFORE and _by_default(cell))
    ),
}


def regret(acc: np.ndarray, score: Any, n_restarts: int) -> float:
    """How much accuracy the pick of a criterion loses against the best, mean over every choice of so many restarts."""
    lost = []
    for chosen in combinations(range(len(acc)), n_restarts):
        rows = np.array(chosen)
        lost.append(acc[rows].max() - acc[rows[np.argmax(score(rows))]])
    return float(np.mean(lost))


def rank_correlation(values: np.ndarray, acc: np.ndarray) -> float:
    """Spearman's, NaN where one of them is constant."""
    return float(spearmanr(values, acc).statistic) if np.ptp(values) > 0 < np.ptp(acc) else float("nan")


def criteria_of(cell: dict[str, Any]) -> dict[str, Any]:
    """Function from rows to scores, by the name of each criterion."""
    agreement = np.array(cell["agreement"])
    columns = {name: np.array([fit[name] for fit in cell["fits"]]) for name in CRITERIA}
    columns["rule of n_init"] = np.array([score_of_n_init(fit) for fit in cell["fits"]])
    return {
        **{name: (lambda rows, column=column: column[rows]) for name, column in columns.items()},
        "restart agreement": lambda rows: agreement[np.ix_(rows, rows)].mean(axis=1),
    }


def score_of_n_init(fit: dict[str, Any]) -> float:
    """What ``n_init`` keeps the largest of, by other draws: no cluster empty or with nearly all, labels that last."""
    sizes = np.array(fit["cluster_sizes"])
    n_empty, has_giant = (sizes == 0).sum(), sizes.max() > 0.95 * sizes.sum()
    return float(fit["augmentation agreement"] - 10 * has_giant - 100 * n_empty)


def criteria(cells: Cells, n_restarts: int = 3) -> Table:
    """Rank correlation with ACC over restarts, and regret among three of them; then means over data sets."""
    names = [*(f"{name}: rank correlation / regret" for name in criteria_of(cells[0])), "one at random: regret"]
    lines, found = [["data, method", "ACC mean", "ACC best", *names]], []
    for cell in cells:
        acc = np.array([fit["acc"] for fit in cell["fits"]])
        every = np.arange(len(acc))
        figures = [
            (rank_correlation(score(every), acc), regret(acc, score, n_restarts))
            for score in criteria_of(cell).values()
        ]
        by_chance = np.mean([acc[list(rows)].max() for rows in combinations(every, n_restarts)]) - acc.mean()
        found.append((acc.mean(), acc.max(), [*figures, (np.nan, by_chance)]))
        lines.append(criteria_line(f"{cell['data']}, {cell['row']}", *found[-1]))
    for title, is_among in GROUPS.items():
        mine = [figures for cell, figures in zip(cells, found, strict=True) if is_among(cell)]
        if mine:
            accuracies = (np.mean([each[i] for each in mine]) for i in (0, 1))
            ranks, regrets = np.moveaxis([figures for _, _, figures in mine], 2, 0)
            means = zip([*np.nanmean(ranks[:, :-1], axis=0), np.nan], regrets.mean(axis=0), strict=True)
            lines.append(criteria_line(title, *accuracies, list(means)))
    return lines


def criteria_line(title: str, mean: float, best: float, figures: Any) -> list[str]:
    entries = [f"{lost:.3f}" if np.isnan(rank) else f"{rank:+.2f} / {lost:.3f}" for rank, lost in figures]
    return [title, f"{mean:.3f}", f"{best:.3f}", *entries]


def settings(cells: Cells) -> Table:
    """Rank correlation of each criterion with ACC over settings, and what its pick loses against the best of them.

    Settings with other transforms are left out: how many samples survive one depends on what it does.
    """
    lines = [["data, method", "settings", "ACC best", *(f"{name}: rank correlation / regret" for name in CRITERIA)]]
    compared = [cell for cell in cells if not re.search("k-means|augment=None|narrow transforms|light", cell["row"])]
    groups = dict.fromkeys((cell["data"], cell["row"].split(",")[0]) for cell in compared)
    for data, method in groups:
        mine = [cell for cell in compared if (cell["data"], cell["row"].split(",")[0]) == (data, method)]
        acc = np.array([cell["acc"] for cell in mine])
        entries = []
        for name in CRITERIA:
            values = np.array([cell[name] for cell in mine])
            entries.append(f"{rank_correlation(values, acc):+.2f} / {acc.max() - acc[values.argmax()]:.3f}")
        lines.append([f"{data}, {method}", str(len(mine)), f"{acc.max():.3f}", *entries])
    return lines


def n_clusters_criteria(cells: Cells) -> Table:
    """Mean of each criterion for each number of clusters, and for which number it is largest."""
    lines = [["data, method", "K", "ACC", "stability", *CRITERIA]]
    for cell in cells:
        title = f"{cell['data']}, {cell['row']}"
        numbers = list(dict.fromkeys(fit["n_clusters"] for fit in cell["fits"]))
        means = np.empty((len(numbers), 2 + len(CRITERIA)))
        for mean, number in zip(means, numbers, strict=True):
            mine = [fit for fit in cell["fits"] if fit["n_clusters"] == number]
            acc, *scores = (np.mean([fit[name] for fit in mine]) for name in ("acc", *CRITERIA))
            mean[:] = acc, cell["stability"][str(number)], *scores
            lines.append([title, str(number), *(f"{value:.3f}" for value in mean)])
        lines.append([title, "of the largest", *(str(numbers[row]) for row in means.argmax(axis=0))])
    return lines


def warned(cells: Cells) -> Table:
    """Of the runs far below the median of their kind and of the others, how many carried a warning."""
    lines = [
        ["data, method", "fits", "median ACC", "more than .15 below it", "of these warned", "of the others warned"]
    ]
    for data, row in dict.fromkeys((cell["data"], cell["row"]) for cell in cells):
        mine = [fit for cell in cells if (cell["data"], cell["row"]) == (data, row) for fit in cell["fits"]]
        acc, has_warning = np.array([fit["acc"] for fit in mine]), np.array([bool(fit["warnings"]) for fit in mine])
        below = acc < np.median(acc) - 0.15
        of_below = f"{has_warning[below].sum()} of {below.sum()}"
        of_others = f"{has_warning[~below].sum()} of {(~below).sum()}"
        lines.append([f"{data}, {row}", str(len(mine)), f"{np.median(acc):.3f}", str(below.sum()), of_below, of_others])
    return lines


SPECIAL = {
    "criteria": criteria,
    "choose-n-clusters": n_clusters_criteria,
    "warnings": warned,
    "by-epoch": by_epoch,
    "other-clusterers": clusterers,
    "transfer": probes,
}


def sections() -> list[tuple[str, str, list[Table], list[str], list[str], str]]:
    """Title, note, tables, pictures, lines and command of every table that has cells."""
    found = []
    for name, title in TITLES.items():
        cells = read(name)
        if not cells:
            continue
        fits, probed = [[cell for cell in cells if ("probe" in cell) == is_probe] for is_probe in (False, True)]
        tables = [SPECIAL[name](cells)] if name in SPECIAL else [summary(name, fits)] if fits else []
        if name == "departures":
            tables.append(settings(fits))
        if name == "criteria":
            tables.append(warned(cells))
        if name == "pair-sampling" and probed:
            tables.append(probes(probed))
        lines = epochs_reached(cells) if "paper" in name else []
        found.append(
            (title, NOTES.get(name, ""), tables, _paper_pictures.draw(name, cells), lines, COMMAND.format(name))
        )
    return found
