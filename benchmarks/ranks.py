"""One fit by 1, 2 and 4 processes, beside each other: python benchmarks/ranks.py

Processes talk by gloo on this machine, each with one thread, and share each batch. Four parts, all by default:

agreement   the losses of the first 50 steps and the labels after them, and between one thread and two of one process,
            which differ by rounding alone
fits        ACC of whole fits, five seeds
steps       seconds and bytes a step, counted at the loopback interface, beside what is expected
killed      a fit in which a rank is killed, and which goes on with another number of processes

Rows that results/ranks.json holds are not measured again.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from _results import read_record, scores, update_record
from sklearn.datasets import load_digits
from torch.nn.parallel import DistributedDataParallel

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering, _monitor
from deepcluster_sk.metrics import clustering_accuracy_score

METHODS = {"DAC": DACClustering, "DCCM": DCCMClustering, "DCSS": DCSSClustering}
SIZES = (1, 2, 4)
N_STEPS = 50


# What a process of a fit does ------------------------------------------------------------------------------------


def loopback_bytes() -> int:
    """Bytes that the loopback interface has sent since the machine started."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        if line.strip().startswith("lo:"):
            return int(line.split(":")[1].split()[8])
    raise OSError("no loopback interface")


class Steps:
    """Loss, time, and bytes sent by all ranks at each step of training.

    Bytes are counted where they pass, and predicted: all gather of s bytes from each of W ranks sends W (W - 1) s, and
    the sum over ranks of s bytes, around a ring, 2 (W - 1) s. Gradients, which torch sums, are counted apart too.
    """

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.seconds: list[float] = []
        self.bytes: list[int] = []
        self.expected: list[int] = []
        self.gradients: list[int] = []
        self.so_far = self.of_gradients = 0
        self.predict("all_gather", lambda ours, size: size * (size - 1) * ours[0].nbytes)
        self.predict("all_reduce", lambda ours, size: 2 * (size - 1) * ours.nbytes)
        self.predict_gradients()
        add = _monitor.RunningMean.add

        def noting(mean, total, count):
            if count == 1:  # a step's loss; shares are sums over more
                self.losses.append(float(torch.as_tensor(total).detach()))
                self.seconds.append(time.perf_counter())
                self.bytes.append(loopback_bytes())
                self.expected.append(self.so_far + self.of_gradients)
                self.gradients.append(self.of_gradients)
            add(mean, total, count)

        _monitor.RunningMean.add = noting

    def predict(self, name, bytes_of) -> None:
        """Add what each call of a collective of torch.distributed should send."""
        collective = getattr(torch.distributed, name)

        def predicting(ours, *args, **kwargs):
            self.so_far += bytes_of(ours, torch.distributed.get_world_size())
            return collective(ours, *args, **kwargs)

        setattr(torch.distributed, name, predicting)

    def predict_gradients(self) -> None:
        """Add what a backward pass through torch's module should send: the sum of one gradient a parameter."""
        forward = DistributedDataParallel.forward

        def predicting(module, *args, **kwargs):
            trained = sum(parameter.nbytes for parameter in module.parameters() if parameter.requires_grad)
            self.of_gradients += 2 * (torch.distributed.get_world_size() - 1) * trained
            return forward(module, *args, **kwargs)

        DistributedDataParallel.forward = predicting


def job(job: dict) -> None:
    """Fit as the job says, and write what was seen."""
    torch.set_num_threads(job.get("threads", 1))
    rank = int(os.environ.get("RANK", 0))
    data = load_digits()
    images = (data.images / 16).astype(np.float32)
    steps = Steps()
    if job.get("kill_in") is not None:
        killing(job["kill_in"], rank)
    estimator = METHODS[job["method"]](10, random_state=job["seed"], **job["params"])
    start = time.perf_counter()
    estimator.fit(images)
    if rank:
        return
    seen = {"seconds": time.perf_counter() - start, **scores(data.target, estimator.labels_)}
    seen |= {"labels": estimator.labels_.tolist(), "losses": steps.losses}
    seen |= {"step_seconds": np.diff(steps.seconds).tolist(), "step_bytes": np.diff(steps.bytes).tolist()}
    seen |= {"expected_bytes": np.diff(steps.expected).tolist(), "gradient_bytes": np.diff(steps.gradients).tolist()}
    seen["epochs"] = len(estimator.history_)
    Path(job["out"]).write_text(json.dumps(seen))


def killing(n_records: int, rank: int) -> None:
    """Kill rank 1 at its so-many-th record of an epoch."""
    record, n_seen = _monitor.Monitor.record, 0

    def counting(monitor, **values):
        nonlocal n_seen
        n_seen += 1
        if rank == 1 and n_seen == n_records:
            os.kill(os.getpid(), signal.SIGKILL)
        record(monitor, **values)

    _monitor.Monitor.record = counting


# What is measured ------------------------------------------------------------------------------------------------


def run(size: int, method: str, seed: int = 0, *, check: bool = True, **options) -> dict:
    """One job by so many processes."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        wanted = {"method": method, "seed": seed, "params": {}, "out": str(out), **options}
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"] if size > 1 else []
        command = [sys.executable, *launcher, __file__, "--job", json.dumps(wanted)]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not check:
            return {"code": done.returncode, "seconds": time.perf_counter() - start, "stderr": done.stderr}
        if done.returncode:
            raise RuntimeError(done.stderr)
        return json.loads(out.read_text())


# A start from random weights, so that the steps are each method's own, and enough epochs for 50 of them.
USUAL = {
    "DAC": {"warmup_epochs": 0, "max_epochs": 8},
    "DCCM": {"warmup_epochs": 0, "max_epochs": 8},
    "DCSS, phase 1": {"pretrain_epochs": 0, "max_epochs": 1, "second_phase": False},
    "DCSS, phase 2": {"pretrain_epochs": 0, "first_phase_epochs": 0, "mnet_start_epochs": 0, "max_epochs": 8},
}
# What fits by default settings begin with, at a rate that is no parameter.
STARTS = {
    "DAC, warm-up": {"max_epochs": 8},
    "DCCM, warm-up": {"max_epochs": 8},
    "DCSS, pretraining": {"max_epochs": 8, "second_phase": False},
}
# Steps so small that what differs by rounding stays so.
CALM = {
    "DAC": {"lr": 1e-6},
    "DCCM": {"lr": 1e-6},
    "DCSS, phase 1": {},
    "DCSS, phase 2": {"lr": 1e-6, "encoder_lr": 1e-6},
}


def agreement(seeds: list[int]) -> Iterator[tuple[dict, Callable[[], dict]]]:
    """Largest relative difference of the losses of the first steps, and share of equal labels, to one process.

    Clusters are matched first: k-means behind the start may number them otherwise.
    """
    for part, usual in {**USUAL, **STARTS}.items():
        calm = {"1e-6": {**usual, **CALM[part]}} if part in CALM else {}
        for lr, params in {**calm, "default": usual}.items():
            fit = partial(run, method=part.partition(",")[0], params={**params, "precision": "float32"})
            alone = cache(partial(fit, 1))
            others = {f"{size} processes": partial(fit, size) for size in SIZES[1:]}
            others["1 process, 2 threads"] = partial(fit, 1, threads=2)
            for name, other in others.items():
                yield {"part": part, "lr": lr, "by": name}, partial(difference, alone, other)


def difference(alone: Callable[[], dict], other: Callable[[], dict]) -> dict:
    one, many = alone(), other()
    ours, theirs = (np.array(seen["losses"][:N_STEPS]) for seen in (one, many))
    same = clustering_accuracy_score(one["labels"], many["labels"])
    return {"labels": same, "n_steps": len(ours), "loss": float(np.abs(theirs / ours - 1).max())}


def fits(seeds: list[int]) -> Iterator[tuple[dict, Callable[[], dict]]]:
    """ACC of whole fits by default settings."""
    for method, size, seed in product(METHODS, SIZES, seeds):
        yield {"method": method, "size": size, "seed": seed}, partial(figures, size, method, seed)


def figures(size: int, method: str, seed: int) -> dict:
    seen = run(size, method, seed)
    return {key: seen[key] for key in ("acc", "nmi", "seconds")}


def steps(seeds: list[int]) -> Iterator[tuple[dict, Callable[[], dict]]]:
    """Seconds and bytes of a step of each method's own loop, all that comes between two steps included."""
    for part, size in product(USUAL, SIZES):
        yield {"part": part, "size": size}, partial(step, part, size)


def step(part: str, size: int) -> dict:
    seen = run(size, part.partition(",")[0], params=USUAL[part])
    keys = ("step_seconds", "step_bytes", "expected_bytes", "gradient_bytes")
    medians = [float(np.median(seen[key][5:])) for key in keys]
    return dict(zip(("seconds", "bytes", *keys[2:]), medians, strict=True))


def killed(seeds: list[int]) -> Iterator[tuple[dict, Callable[[], dict]]]:
    """Seconds until all processes have ended, and ACC of what goes on, beside an undisturbed fit."""
    for method in METHODS:
        alone = cache(partial(run, 1, method))
        for sizes in ([2, 1], [4, 2], [2, 4]):
            yield {"method": method, "sizes": sizes}, partial(kill_and_go_on, method, sizes, alone)


def kill_and_go_on(method: str, sizes: list[int], alone: Callable[[], dict]) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        params = {"checkpoint_dir": folder, "checkpoint_every": "1 epoch"}
        first = run(sizes[0], method, params=params, kill_in=12, check=False)
        second = run(sizes[1], method, params=params)
    says_so = "another process of this fit ended" in first["stderr"]
    seen = {"code": first["code"], "ended_after": first["seconds"], "says_so": says_so}
    return {**seen, "acc": second["acc"], "undisturbed": alone()["acc"]}


PARTS = {"agreement": agreement, "killed": killed, "steps": steps, "fits": fits}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job is not None:
        job(options.job)
        return
    for name in options.only or PARTS:
        rows = read_record("ranks").get(name, [])
        for what, measure in PARTS[name](options.seeds):
            if any(what.items() <= row.items() for row in rows):
                continue
            rows.append({**what, **measure()})
            print(rows[-1], flush=True)
            update_record("ranks", name, rows)


if __name__ == "__main__":
    main()
