"""Fits killed at random moments and run again: python benchmarks/faults.py --kills 60

Each method is fitted to the digits once undisturbed. Then the same fit is run in a process of its own that gets SIGKILL
at a random moment, every fourth time while a checkpoint is being written, and is run again, until it has been killed
five times and comes to its end. Its weights and labels must be those of the undisturbed fit, bit by bit. Sixty kills
take some fifteen minutes; the record is benchmarks/results/faults.json.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _results import write_record
from sklearn.datasets import load_digits
from torch import Tensor

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering
from deepcluster_sk._checkpoint import read

METHODS = {method.__name__: method for method in (DACClustering, DCCMClustering, DCSSClustering)}
KILLS_A_RUN = 5


class Counted:
    """Callback that adds a line to a file for each epoch that begins."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        if context.task_name == "epoch":
            with self.path.open("a") as file:
                file.write(".\n")

    def on_fit_task_end(self, estimator, context):
        pass


def fit(name: str, seed: int, folder: Path, *, checkpoints: bool) -> None:
    """Fit, and leave a digest of weights and labels."""
    digits = load_digits()
    estimator = METHODS[name](
        random_state=seed, checkpoint_dir=folder / "checkpoints" if checkpoints else None, checkpoint_every=0.2
    )
    estimator.set_callbacks(Counted(folder / "epochs")).fit(digits.images)
    digest = hashlib.sha256(estimator.labels_.tobytes())
    for key, value in estimator.module_.state_dict().items():
        digest.update(key.encode())
        digest.update(value.cpu().numpy().tobytes() if isinstance(value, Tensor) else repr(value).encode())
    (folder / "digest").write_text(digest.hexdigest())


def start(name: str, seed: int, folder: Path, *, checkpoints: bool = True) -> subprocess.Popen:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "--child", name, str(seed), str(folder)]
    return subprocess.Popen(command + ["--checkpoints"] * checkpoints, stdout=subprocess.DEVNULL)


def n_epochs(folder: Path) -> int:
    path = folder / "epochs"
    return len(path.read_text().splitlines()) if path.exists() else 0


def position(folder: Path) -> tuple[int, str] | None:
    """Epochs behind the last checkpoint, and in words where it is."""
    for path in folder.glob("checkpoints/*/restart-0"):
        state = read(path / "state.ckpt")
        if state is not None:
            last = state["history"][-1]
            return len(state["history"]) - 1, f"{last['phase']}, epoch {last['epoch'] + 1}, batch {state['n_done']}"
    return None


def kill(process: subprocess.Popen, folder: Path, rng: random.Random, seconds: float, *, in_write: bool) -> bool:
    """Kill a process at a random moment of the next ``seconds`` of training; whether it was not over before."""
    begun = n_epochs(folder)
    while n_epochs(folder) == begun and process.poll() is None:
        time.sleep(0.01)
    end = time.monotonic() + rng.uniform(0, seconds)
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.001)
    while in_write and process.poll() is None and not any(folder.glob("checkpoints/*/*/*.tmp")):
        pass
    over = process.poll() is not None
    process.kill()
    process.wait()
    return not over


def killed_run(name: str, seed: int, folder: Path, rng: random.Random, seconds: float, n_kills: int) -> dict[str, Any]:
    """Kill a fit so many times, then let it end; ``seconds`` is what it takes."""
    kills: list[dict[str, Any]] = []
    while len(kills) < n_kills:
        in_write = len(kills) % 4 == 3
        process = start(name, seed, folder)
        if not kill(process, folder, rng, seconds / (n_kills + 1) * 1.5, in_write=in_write):
            break
        n_behind, where = position(folder) or (0, "the start")
        kills.append({"in_write": in_write, "epochs_behind": n_behind, "resumed_from": where})
        print(f"{name}, seed {seed}: kill {len(kills)}, resumed from {kills[-1]['resumed_from']}", flush=True)
    if start(name, seed, folder).wait():
        raise RuntimeError(f"{name} from seed {seed} did not come to its end.")
    return {"method": name, "seed": seed, "kills": kills, "epochs_begun": n_epochs(folder)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--checkpoints", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, seed, folder = options.child
        fit(name, int(seed), Path(folder), checkpoints=options.checkpoints)
        return
    rng, runs, left, whole = random.Random(options.seed), [], options.kills, {}
    with tempfile.TemporaryDirectory() as temporary:
        while left > 0:
            name = list(METHODS)[len(runs) % len(METHODS)]
            seed, n_kills = len(runs) // len(METHODS), min(KILLS_A_RUN, left)
            reference, folder = Path(temporary) / f"{name}-{seed}-whole", Path(temporary) / f"{name}-{seed}"
            begun = time.perf_counter()
            start(name, seed, reference, checkpoints=False).wait()
            whole[name] = time.perf_counter() - begun
            run = killed_run(name, seed, folder, rng, whole[name], n_kills)
            run["equal"] = (reference / "digest").read_text() == (folder / "digest").read_text()
            run["epochs_undisturbed"] = n_epochs(reference)
            runs.append(run)
            left -= len(run["kills"])
    kills = [{**each, "equal": run["equal"]} for run in runs for each in run["kills"]]
    summary = {
        "kills": len(kills),
        "bit_equal": sum(each["equal"] for each in kills),
        "beyond_the_first_epoch": sum(each["epochs_behind"] >= 1 for each in kills),
        "in_a_write": sum(each["in_write"] for each in kills),
        "most_epochs_over_undisturbed": max(run["epochs_begun"] / run["epochs_undisturbed"] for run in runs),
    }
    print(json.dumps(summary, indent=1))
    write_record("faults", summary=summary, runs=runs)
    sys.exit(summary["bit_equal"] != summary["kills"])


if __name__ == "__main__":
    main()
