"""A grid search on two processes, killed at random moments and run again: python benchmarks/search_faults.py --kills 5

The search over four settings of DAC on three folds of the digits is run once undisturbed. Then the same search, with
checkpoints, gets SIGKILL with all its workers at random moments and is run again, until it has been killed so often and
comes to its end. Its scores must be those of the undisturbed one, and no candidate may train after it was finished.
The record is benchmarks/results/search-faults.json.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _results import write_record
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from deepcluster_sk import DACClustering
from deepcluster_sk.metrics import neighbor_agreement_scorer

GRID = {"lr": [1e-4, 1e-3], "n_neighbors": [3, 5]}


class Told:
    """Callback that adds a line to a file for each epoch that begins and each fit that ends, by settings and fold."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def _tell(self, what: str, estimator, X) -> None:
        candidate = f"lr={estimator.lr}, n_neighbors={estimator.n_neighbors}, fold of sum {X.sum():.0f}"
        with self.path.open("a") as file:
            file.write(f"{what}: {candidate}\n")

    def on_fit_task_begin(self, estimator, context, *, X):
        if context.task_name == "epoch":
            self._tell("epoch", estimator, X)

    def on_fit_task_end(self, estimator, context, *, X):
        if context.task_name != "epoch":
            self._tell("end", estimator, X)


def search(folder: Path, *, checkpoints: bool) -> None:
    """Run the search, and leave its scores."""
    dac = DACClustering(
        random_state=0, checkpoint_dir=folder / "checkpoints" if checkpoints else None, checkpoint_every=0.5
    )
    dac.set_callbacks(Told(folder / "told"))
    found = GridSearchCV(dac, GRID, scoring=neighbor_agreement_scorer, cv=3, n_jobs=2, refit=False, error_score="raise")
    found.fit(load_digits().images)
    splits = [found.cv_results_[f"split{fold}_test_score"].tolist() for fold in range(3)]
    (folder / "scores.json").write_text(json.dumps(splits))


def start(folder: Path, *, checkpoints: bool = True) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, __file__, "--child", str(folder)] + ["--checkpoints"] * checkpoints
    return subprocess.Popen(command, start_new_session=True)  # the workers are of its session too


def told(folder: Path) -> list[str]:
    path = folder / "told"
    return path.read_text().splitlines() if path.exists() else []


def killed_run(folder: Path, n_kills: int, seconds: float, rng: random.Random) -> list[dict]:
    """Kill the search so many times, then let it end; ``seconds`` is what it takes."""
    kills: list[dict] = []
    while len(kills) < n_kills:
        process, begun = start(folder), len(told(folder))
        while len(told(folder)) == begun and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 1.5 * seconds / (n_kills + 1)))
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        lines = told(folder)
        finished = {line for line in lines if line.startswith("end")}
        kills.append({"epochs_begun": len(lines) - len(finished), "candidates_finished": len(finished)})
        print(f"kill {len(kills)}: {kills[-1]}", flush=True)
    if start(folder).wait():
        raise RuntimeError("The search did not come to its end.")
    return kills


def trained_again(lines: list[str]) -> set[str]:
    """Candidates of which an epoch began after they were finished."""
    finished, again = set(), set()
    for line in lines:
        what, candidate = line.split(": ", 1)
        if what == "end":
            finished.add(candidate)
        elif candidate in finished:
            again.add(candidate)
    return again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--checkpoints", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        search(Path(options.child), checkpoints=options.checkpoints)
        return
    with tempfile.TemporaryDirectory() as temporary:
        whole, folder = Path(temporary) / "whole", Path(temporary) / "killed"
        begun = time.perf_counter()
        start(whole, checkpoints=False).wait()
        seconds = time.perf_counter() - begun
        kills = killed_run(folder, options.kills, seconds, random.Random(options.seed))
        n_epochs = [sum(line.startswith("epoch") for line in told(each)) for each in (whole, folder)]
        summary = {
            "kills": len(kills),
            "same_scores": (whole / "scores.json").read_text() == (folder / "scores.json").read_text(),
            "candidates": len({line for line in told(folder) if line.startswith("end")}),
            "trained_after_they_were_finished": len(trained_again(told(folder))),
            "epochs_over_undisturbed": n_epochs[1] / n_epochs[0],
        }
    print(json.dumps(summary, indent=1))
    write_record("search-faults", summary=summary, kills=kills, seconds_undisturbed=seconds)
    sys.exit(not summary["same_scores"] or summary["trained_after_they_were_finished"] > 0)


if __name__ == "__main__":
    main()
