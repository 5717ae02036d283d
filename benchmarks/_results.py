"""What the benchmarks share: scores, a time limit, and the record of a run."""

import json
import platform
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.pipeline import Pipeline

import deepcluster_sk
from deepcluster_sk.metrics import clustering_accuracy_score

RESULTS = Path(__file__).parent / "results"


class TimeLimit:
    """Callback that ends training before the epoch that would pass ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def setup(self, estimator, context):
        self.start = self.last = time.monotonic()
        self.longest = 0.0

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        now = time.monotonic()
        self.longest, self.last = max(self.longest, now - self.last), now
        return now + 1.05 * self.longest - self.start > self.seconds


def scores(y: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """ACC, NMI and ARI, in [0, 1] (ARI in [-0.5, 1])."""
    return {
        "acc": clustering_accuracy_score(y, labels),
        "nmi": float(normalized_mutual_info_score(y, labels)),
        "ari": float(adjusted_rand_score(y, labels)),
    }


def params_of(estimator: Any) -> dict[str, str]:
    """Parameters of an estimator, or the steps of a pipeline behind the first, which flattens, as text."""
    parts = estimator.steps[1:] if isinstance(estimator, Pipeline) else estimator.get_params().items()
    return {name: repr(value) for name, value in parts}


def fit_cell(name: str, seed: int, estimator: Any, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Fit without labels, score with them, print a line and return it as a record."""
    start = time.perf_counter()
    estimator.fit(X)
    cell = {"method": name, "seed": seed, "seconds": time.perf_counter() - start, **scores(y, estimator.labels_)}
    if hasattr(estimator, "history_"):
        cell["epochs"] = dict(Counter(record["phase"] for record in estimator.history_))
        cell["clusters_used"] = estimator.fit_report_["n_clusters_used"]
    epochs = ", ".join(f"{phase} {n}" for phase, n in cell.get("epochs", {}).items())
    print(
        f"{name:24s} seed {seed}  ACC {cell['acc']:.3f}  NMI {cell['nmi']:.3f}  ARI {cell['ari']:.3f}  "
        f"{cell['seconds']:6.1f} s  {epochs}",
        flush=True,
    )
    return cell


def summarize(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean, worst and longest of each method, printed and returned."""
    rows = []
    for name in dict.fromkeys(cell["method"] for cell in cells):
        mine = [cell for cell in cells if cell["method"] == name]
        acc = np.array([cell["acc"] for cell in mine])
        row = {
            "method": name,
            "n_seeds": len(mine),
            "acc_mean": float(acc.mean()),
            "acc_std": float(acc.std(ddof=1)) if len(acc) > 1 else 0.0,
            "acc_worst": float(acc.min()),
            "nmi_mean": float(np.mean([cell["nmi"] for cell in mine])),
            "ari_mean": float(np.mean([cell["ari"] for cell in mine])),
            "seconds_max": max(cell["seconds"] for cell in mine),
        }
        rows.append(row)
        print(
            f"{name:24s} ACC {row['acc_mean']:.3f} ± {row['acc_std']:.3f}, worst {row['acc_worst']:.3f}; "
            f"NMI {row['nmi_mean']:.3f}, ARI {row['ari_mean']:.3f}; longest fit {row['seconds_max']:.0f} s"
        )
    return rows


def save(name: str, cells: list[dict[str, Any]]) -> None:
    """Write cells and their summary to results/NAME.json."""
    write_record(name, cells=cells, summary=summarize(cells))


def write_record(name: str, **figures: Any) -> None:
    """Write figures to results/NAME.json, with versions and hardware."""
    _write(name, {**conditions(), **figures})


def update_record(name: str, part: str, figures: Any, **options: Any) -> None:
    """Write one part of results/NAME.json, with its versions, hardware and options; other parts stay as they are."""
    record = read_record(name)
    made_under = {**record.get("conditions", {}), part: {**conditions(), **options}}
    _write(name, {**record, part: figures, "conditions": made_under})


def read_record(name: str) -> dict[str, Any]:
    """What results/NAME.json holds; empty where there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def conditions() -> dict[str, Any]:
    """Versions and hardware."""
    return {
        "versions": {
            "deepcluster_sk": deepcluster_sk.__version__,
            **{package: version(package) for package in ("torch", "scikit-learn", "numpy")},
        },
        "python": platform.python_version(),
        "hardware": {
            "machine": platform.machine(),
            "torch_threads": torch.get_num_threads(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "bfloat16": torch.cpu._is_avx512_bf16_supported(),
            "amx": torch.cpu._is_amx_tile_supported(),
        },
    }


def _write(name: str, record: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
