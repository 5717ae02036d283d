"""The papers' tables and figures, cell by cell: python benchmarks/paper_tables.py --table mnist --data-dir DIR

DIR holds data sets, or they are downloaded to it (see ``_datasets.py``). Each cell is one fit, or one
measurement around a fit, kept as a file in benchmarks/results/paper/TABLE; a cell that has its file is not run again,
so a table may take as many sittings as it needs. At the end the docs page "Results" is written anew. ``--plan`` prints
what is left, in hours, and runs nothing; ``--smoke`` takes random images in the files of every data set that needs a
GPU through its loader and one step of each method.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import _analyses
import _synthetic
import numpy as np
from _datasets import LARGE, load
from _methods import BASELINES, PAPER_VARIANTS, VARIANTS, default, images_for, paper
from _results import RESULTS, TimeLimit, conditions, params_of, scores
from sklearn.exceptions import ConvergenceWarning

from deepcluster_sk.augment import ImageAugmentation

Measure = Callable[[np.ndarray, np.ndarray, int], dict[str, Any]]
ROOT = Path(__file__).parent.parent
THREE = ("DAC", "DCCM", "DCSS")
# Minutes that a fit of 10,000 images of 28x28 pixels takes on two cores, to plan by.
MINUTES = {"DAC": 1.7, "DAC*": 1.7, "DCCM": 2.0, "DCCM M1": 1.5, "DCCM M2": 1.8, "DCCM M3": 1.8}
MINUTES |= {"DCSS": 5.0, "DCSSu": 4.5, "DCSS_agg": 4.5, "AE + k-means": 1.0, "pretraining + k-means": 3.0}
MINUTES |= {"k-means": 0.1, "PCA + k-means": 0.05}


class Cell(NamedTuple):
    """One entry of a table."""

    table: str
    data: str
    row: str
    seed: int
    measure: Measure
    minutes: float  # planned

    @property
    def path(self) -> Path:
        """File of the result."""
        name = re.sub(r"[^\w.=*+-]+", "_", f"{self.data}--{self.row}--{self.seed}").replace("*", "star")
        return RESULTS / "paper" / self.table / f"{name}.json"


def fitted(make: Callable[[int, int], Any], *, n_clusters: int | None = None, minutes: float | None = None) -> Measure:
    """Measurement of one fit, with as many clusters as classes by default, stopped before so many minutes are over."""

    def measure(X: np.ndarray, y: np.ndarray, seed: int) -> dict[str, Any]:
        estimator = make(n_clusters or len(np.unique(y)), seed)
        if minutes is not None:
            estimator.set_callbacks(TimeLimit(60 * minutes))
        start = time.perf_counter()
        estimator.fit(X)
        seconds = time.perf_counter() - start
        figures = {"params": params_of(estimator), "n_samples": len(X), "seconds": seconds}
        figures |= scores(y, estimator.labels_)
        if hasattr(estimator, "history_"):
            figures["epochs"] = dict(Counter(record["phase"] for record in estimator.history_))
            figures["report"] = {
                key: value for key, value in estimator.fit_report_.items() if key != "restart_agreement"
            }
        return figures

    return measure


def by_default(method: str, *, n_clusters: int | None = None, **params: Any) -> Measure:
    """Measurement of a row by our settings."""
    return fitted(lambda n_clusters, seed: default(method, n_clusters, seed, **params), n_clusters=n_clusters)


def by_paper(method: str, minutes: float) -> Measure:
    """Measurement of a row by the paper's settings; of a baseline as ever."""
    if method in BASELINES:
        return by_default(method)
    measure = fitted(lambda n_clusters, seed: paper(method, n_clusters, seed), minutes=minutes)
    return lambda X, y, seed: measure(images_for(method, X), y, seed)


def of_classes(n_classes: int, measure: Measure) -> Measure:
    """Measurement on the samples of the first classes."""
    return lambda X, y, seed: measure(X[y < n_classes], y[y < n_classes], seed)


def table(name: str, data: str, rows: dict[str, Measure], seeds: list[int], minutes: dict[str, float]) -> list[Cell]:
    """Every row from every seed."""
    return [Cell(name, data, row, seed, measure, minutes[row]) for row, measure in rows.items() for seed in seeds]


def default_table(name: str, data: str, methods: tuple[str, ...], seeds: list[int], size: float) -> list[Cell]:
    """Rows by our settings; ``size`` is the number of samples in units of 10,000."""
    rows = {method: by_default(method) for method in methods}
    return table(name, data, rows, seeds, {method: MINUTES[method] * size for method in methods})


def paper_table(name: str, data: str, methods: tuple[str, ...], seeds: list[int], minutes: float) -> list[Cell]:
    """Rows by the papers' settings, each fit ended after so many minutes, and the baselines."""
    rows = {method: by_paper(method, minutes) for method in (*BASELINES, *methods)}
    return table(name, data, rows, seeds, {**dict.fromkeys(methods, minutes), **dict.fromkeys(BASELINES, 0.1)})


def side_table(name: str, data: str, rows: dict[str, Measure], seeds: list[int], minutes: float) -> list[Cell]:
    """Rows that take as long as each other, and the baselines."""
    baselines = {method: by_default(method) for method in BASELINES}
    planned = {**dict.fromkeys(BASELINES, 0.1), **dict.fromkeys(rows, minutes)}
    return table(name, data, {**baselines, **rows}, seeds, planned)


def measurements(name: str, data: str, rows: dict[str, Measure], seeds: list[int], minutes: float) -> list[Cell]:
    """Rows with no baselines beside them."""
    return table(name, data, rows, seeds, dict.fromkeys(rows, minutes))


FULL = (*BASELINES, *THREE)
WITH_PARTS = (*BASELINES, "AE + k-means", "DAC", "DCCM", "DCSSu", "DCSS")
EVERY = (*BASELINES, *VARIANTS)
SUBSET, FASHION_SUBSET = "mnist-first-10000", "fashion-mnist-first-10000"


def varied(method: str, parameter: str, values: tuple[Any, ...], **fixed: Any) -> dict[str, Measure]:
    """A row for each value of one parameter."""
    return {f"{method}, {parameter}={value}": by_default(method, **{**fixed, parameter: value}) for value in values}


def thresholds() -> dict[str, Measure]:
    """DCSS's ζ against γ."""
    return {
        f"DCSS, similar_threshold={similar}, dissimilar_threshold={dissimilar}": by_default(
            "DCSS", similar_threshold=similar, dissimilar_threshold=dissimilar
        )
        for similar in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
        for dissimilar in (0.0, 0.1, 0.2, 0.3, 0.5)
        if dissimilar < similar
    }


def dcss_parameters() -> dict[str, Measure]:
    """α, m and T1 of a phase 1 as long and as fast as it needs to be to move anything, and T2 of phase 2."""
    long = {"first_phase_epochs": 20, "first_phase_lr": 1e-6}
    return {
        **varied("DCSSu", "centering_weight", (0.0, 0.01, 0.1, 1.0), **long),
        **varied("DCSSu", "fuzzifier", (1.1, 1.3, 1.5, 2.0, 3.0), **long),
        **varied("DCSSu", "center_interval", (1, 2, 4), **long),
        **varied("DCSS", "membership_epochs", (0, 2, 5, 10, 20)),
    }


def one_network() -> dict[str, Measure]:
    """DAC and DCCM with one network, the one of DAC's paper."""
    rows = ("DAC*", "DAC", "DCCM M1", "DCCM M2", "DCCM M3", "DCCM")
    return {method: by_default(method, network="dac-28") for method in rows}


def departures() -> dict[str, Measure]:
    """Each setting in which a default departs from its paper, put back by itself, and what is off by default."""
    loop: dict[str, dict[str, Any]] = {
        "warmup_epochs=0": {"warmup_epochs": 0},
        "n_neighbors=0": {"n_neighbors": 0},
        "narrow transforms": {"augment": ImageAugmentation()},
        "other light": {"augment": ImageAugmentation.strong_gray()},
        "lr_schedule=constant": {"lr_schedule": "constant"},
        "tol=0.01": {"tol": 0.01},
        "n_init=3": {"n_init": 3},
    }
    changes: dict[str, dict[str, dict[str, Any]]] = {
        "DAC": {
            "default": {},
            **loop,
            "network=dac-28": {"network": "dac-28"},
            "lr=0.001": {"lr": 1e-3},
            "batch_size=128": {"batch_size": 128},
            "passes_per_block=5": {"passes_per_block": 5},
            "max_epochs=46": {"max_epochs": 46},
            "curriculum_rate=0.009": {"curriculum_rate": 0.009},
            "pair_loss=squared_error": {"pair_loss": "squared_error"},
        },
        "DCCM": {
            "default": {},
            **loop,
            "batch_size=32": {"batch_size": 32},
            "passes_per_block=10": {"passes_per_block": 10},
            "mi_positions=None": {"mi_positions": None},
        },
        "DCSS": {
            "default": {},
            "contrastive_weight=0": {"contrastive_weight": 0.0},
            "n_neighbors=0": {"n_neighbors": 0},
            "augment=None": {"augment": None},
            "the light as it is": {"augment": ImageAugmentation.strong()},
            "network=autoencoder-residual": {"network": "autoencoder-residual"},
            "latent_dim=10": {"latent_dim": 10},
            "first_phase_epochs=0": {"first_phase_epochs": 0},
            "fuzzifier=1.5": {"fuzzifier": 1.5},
            "first_phase_lr=1e-6": {"first_phase_lr": 1e-6},
            "mnet_start_epochs=0": {"mnet_start_epochs": 0},
            "logit_scale=None": {"logit_scale": None},
            "lr=0.001, encoder_lr=1e-5": {"lr": 1e-3, "encoder_lr": 1e-5},
            "membership_epochs=5": {"membership_epochs": 5},
            "batch_size=500": {"batch_size": 500},
            "tol=0.01": {"tol": 0.01},
            "n_init=3": {"n_init": 3},
        },
    }
    papers_network = _analyses.setting("DCCM", network="dccm-32")
    return {
        **{
            f"{method}, {name}": _analyses.setting(method, **params)
            for method, rows in changes.items()
            for name, params in rows.items()
        },
        "DCCM, network=dccm-32": lambda X, y, seed: papers_network(images_for("DCCM", X), y, seed),
    }


def papers_epochs() -> dict[str, Measure]:
    """As many epochs as the papers take of DCCM and DCSS; 46 of DAC are among the departures."""
    phases = {"pretrain_epochs": 200, "first_phase_epochs": 200, "second_phase_epochs": 20}
    return {
        "DCCM, max_epochs=200": _analyses.setting("DCCM", max_epochs=200),
        "DCSS, epochs=200, 200 and 20": _analyses.setting("DCSS", **phases),
    }


def metrics() -> dict[str, Measure]:
    """Vectors as they are, and their directions."""
    return {name: row for method in THREE for name, row in varied(method, "metric", ("euclidean", "cosine")).items()}


def photographs() -> dict[str, Measure]:
    """The default, which changes colours and draws no neighbours, and each of the two put back."""
    changes: dict[str, dict[str, Any]] = {
        "": {},
        ", augment=color()": {"augment": ImageAugmentation.color()},
        ", n_neighbors=5": {"n_neighbors": 5},
        ", augment=color(), n_neighbors=5": {"augment": ImageAugmentation.color(), "n_neighbors": 5},
    }
    return {f"{method}{name}": by_default(method, **params) for name, params in changes.items() for method in THREE}


def growing(n_classes: tuple[int, ...]) -> dict[str, Measure]:
    return {f"{method}, {n} classes": of_classes(n, by_default(method)) for n in n_classes for method in FULL}


PAIR_SAMPLING = ("nearest-random", "nearest-farthest", "random-random", "top-random")
SHORT = {f"at most {n} epochs": {"max_epochs": n} for n in (3, 10)}
CRITERIA_DATA = {  # with thousands of samples; settled on the first two alone, the others are looked at once
    "digits": 0.6,  # so many thousand of 28x28 pixels take as long
    "mnist-first-2000": 2.0,
    "fashion-mnist-first-2000": 2.0,
    "mnist-first-4000-r0.1": 2.2,
    "fashion-mnist-first-4000-r0.1": 2.2,
    "unequal-mnist-random-3000": 1.5,
    "color-digits": 1.8,
}
# Restarts from the default start are too much alike to choose between; these are not.
UNLIKE_DATA = ("digits", "mnist-first-2000", "fashion-mnist-first-2000", "mnist-first-4000-r0.1", "color-digits")
WITHOUT_WARM_UP = {
    "DAC": {"warmup_epochs": 0},
    "DCCM": {"warmup_epochs": 0},
    "DCSS": {"contrastive_weight": 0.0},
}


def cells(seeds: list[int]) -> dict[str, list[Cell]]:
    """All tables."""
    one = seeds[:1]
    return {
        "mnist": default_table("mnist", "mnist", FULL, seeds, 6.0),
        "fashion-mnist": default_table("fashion-mnist", "fashion-mnist", WITH_PARTS, one, 6.0),
        "2mnist": default_table("2mnist", "2mnist", WITH_PARTS, one, 12.0),
        "unequal-mnist": default_table("unequal-mnist", "unequal-mnist", FULL, seeds, 0.6),
        "mnist-10k": default_table("mnist-10k", SUBSET, EVERY, seeds, 1.0),
        "fashion-mnist-10k": default_table("fashion-mnist-10k", FASHION_SUBSET, EVERY, seeds, 1.0),
        "mnist-10k-paper": paper_table("mnist-10k-paper", SUBSET, PAPER_VARIANTS, one, 20.0),
        "fashion-mnist-10k-paper": paper_table("fashion-mnist-10k-paper", FASHION_SUBSET, PAPER_VARIANTS, one, 20.0),
        "mnist-paper": paper_table("mnist-paper", "mnist", THREE, one, 90.0),
        "imbalance": [
            cell
            for rate in (0.1, 0.3, 0.5, 0.7, 0.9)
            for cell in default_table("imbalance", f"{SUBSET}-r{rate}", FULL, one, 0.5 + rate / 2)
        ],
        "n-samples": [
            cell
            for n in (1000, 2000, 5000, 10000, 20000)
            for cell in default_table("n-samples", f"mnist-first-{n}", FULL, one, (n / 10_000) ** 0.7)
        ],
        "n-clusters": measurements(
            "n-clusters",
            SUBSET,
            {
                f"{method}, n_clusters={n}": by_default(method, n_clusters=n)
                for n in (5, 8, 10, 12, 15, 20)
                for method in FULL
            },
            one,
            1.5,
        ),
        "growing-k": measurements("growing-k", "2mnist-first-20000", growing((5, 10, 15, 20)), one, 2.5),
        "dccm-thresholds": side_table(
            "dccm-thresholds", "digits", varied("DCCM", "label_threshold", (0.1, 0.3, 0.5, 0.7, 0.9)), seeds, 0.3
        ),
        "dcss-thresholds": side_table("dcss-thresholds", "digits", thresholds(), one, 0.5),
        "dcss-parameters": side_table("dcss-parameters", "digits", dcss_parameters(), one, 0.5),
        "pair-sampling": [
            *side_table("pair-sampling", "digits", varied("DCCM", "pair_sampling", PAIR_SAMPLING), seeds, 0.3),
            *measurements(
                "pair-sampling",
                "digits",
                {f"probe, {name}": _analyses.pair_sampling_probe(name) for name in PAIR_SAMPLING},
                seeds,
                1.0,
            ),
        ],
        "departures": [
            *side_table("departures", "mnist-first-2000", departures(), one, 0.8),
            *measurements("departures", "mnist-first-2000", papers_epochs(), one, 25.0),
            *side_table("departures", "mnist-first-4000-r0.1", departures(), one, 0.9),
        ],
        "one-network": side_table("one-network", SUBSET, one_network(), one, 6.0),
        "metric": [
            cell
            for data in ("digits-flat", "mnist-first-4000-flat", "fashion-mnist-first-4000-flat")
            for cell in side_table("metric", data, metrics(), seeds, 1.0)
        ],
        "photographs": side_table("photographs", "cifar-10-test", photographs(), one, 6.0),
        "by-epoch": measurements(
            "by-epoch",
            "digits",
            {
                "BCubed of the pseudo-graph": _analyses.bcubed_by_epoch,
                "elements of label features": _analyses.elements_by_epoch,
                "samples without a neighbour": _analyses.without_neighbor_by_epoch,
            },
            one,
            0.7,
        ),
        "other-clusterers": measurements("other-clusterers", "digits", {"DAC": _analyses.other_clusterers}, seeds, 0.5),
        "transfer": measurements(
            "transfer", "digits", {method: _analyses.transfer(method) for method in THREE}, seeds, 1.0
        ),
        "criteria": [
            Cell(
                "criteria",
                data,
                method,
                seed,
                _analyses.criteria(method, n_restarts=6),
                6 * (size / 10) ** 0.5 * MINUTES[method],
            )
            for data, size in CRITERIA_DATA.items()
            for method in THREE
            for seed in one
        ]
        + [
            Cell(
                "criteria",
                data,
                f"{method}, without warm-up",
                seed,
                _analyses.criteria(method, n_restarts=10, **params),
                3 * (CRITERIA_DATA[data] / 10) ** 0.5 * MINUTES[method],
            )
            for data in UNLIKE_DATA
            for method, params in WITHOUT_WARM_UP.items()
            for seed in one
        ],
        "choose-n-clusters": [
            Cell(
                "choose-n-clusters", data, method, seed, _analyses.n_clusters_criteria(method, (5, 8, 10, 12, 15)), 10.0
            )
            for data in ("digits", "mnist-first-2000", "fashion-mnist-first-2000")
            for method in THREE
            for seed in one
        ],
        "warnings": [
            Cell("warnings", data, f"{method}, {name}", seed, _analyses.criteria(method, **params), 1.5)
            for data in ("digits", "digits-r0.1")
            for method in THREE
            for name, params in SHORT.items()
            for seed in range(1, 6)  # each for ten; those from 0 on were seen when the warning was made
        ],
    }


def commit() -> str:
    """Version of the checkout, with "-dirty" where its code holds changes."""

    def git(*command: str) -> str:
        return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + "-dirty" * bool(git("diff", "HEAD", "--", "deepcluster_sk", "*.py"))


def run(cell: Cell, data_dir: str) -> None:
    """Measure a cell and write its file."""
    X, y = load(cell.data, data_dir)
    version, start, cpu_start = commit(), time.perf_counter(), time.process_time()
    figures = cell.measure(X, y, cell.seed)
    seconds = figures.pop("seconds", time.perf_counter() - start)
    record = {"table": cell.table, "data": cell.data, "row": cell.row, "seed": cell.seed, "seconds": seconds}
    record["cpu_seconds"] = time.process_time() - cpu_start  # of all threads, with what is measured beside the fit
    cell.path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = cell.path.with_suffix(".part")
    unfinished.write_text(json.dumps({**record, **figures, **conditions(), "commit": version}, indent=1) + "\n")
    unfinished.replace(cell.path)
    print(f"{cell.table:20s} {cell.row:40s} seed {cell.seed}  ACC {figures['acc']:.4f}  {seconds:6.0f} s", flush=True)


def smoke() -> Iterator[str]:
    """One epoch of each method on random images in the files of each large data set, read by its own loader."""
    with tempfile.TemporaryDirectory() as folder, _synthetic.unchecked(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # noise has no clusters
        for name in LARGE:
            _synthetic.written(name, Path(folder))
            X, y = load(name, folder)
            for method in THREE:
                labels = default(method, len(np.unique(y)), 0, max_epochs=1, batch_size=len(X)).fit_predict(X)
                yield f"{name}: {method} gave {len(labels)} of {len(X)} images {len(np.unique(labels))} clusters"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", nargs="+", choices=[*cells([0]), *LARGE], help="all but the large ones by default")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--only", default="", help="of these, the cells whose file name matches this expression: ^digits--DAC"
    )
    parser.add_argument("--hours", type=float, default=float("inf"), help="start no cell after so long")
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        for line in smoke():
            print(line, flush=True)
        return
    tables = cells(options.seeds)
    tables |= {name: default_table(name, name, FULL, options.seeds, 60.0) for name in LARGE}
    chosen = options.table or cells([0])
    left = [
        cell
        for name in chosen
        for cell in tables[name]
        if not cell.path.exists() and re.search(options.only, cell.path.stem)
    ]
    for name in chosen:
        mine = [cell.minutes for cell in left if cell.table == name]
        n_done, n_cells = sum(cell.path.exists() for cell in tables[name]), len(tables[name])
        print(f"{name:24s} {n_done:3d} of {n_cells:3d} cells done, {len(mine):3d} to run, {sum(mine) / 60:5.1f} h")
    print(f"{'in all':24s} {sum(cell.minutes for cell in left) / 60:5.1f} h", flush=True)
    if options.plan:
        return
    start, n_failed = time.perf_counter(), 0
    for cell in left:
        if time.perf_counter() - start > 3600 * options.hours:
            break
        try:
            run(cell, options.data_dir)
        except Exception:  # one cell that fails is not to cost the others
            traceback.print_exc()
            n_failed += 1
    subprocess.run([sys.executable, Path(__file__).with_name("tables.py")], check=True)  # the page "Results"
    sys.exit(min(n_failed, 1))


if __name__ == "__main__":
    main()
