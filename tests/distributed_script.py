"""What ``test_distributed`` runs in one process and under torchrun: python distributed_script.py FOLDER SCENARIO.

Each rank writes what it saw to FOLDER/SCENARIO-RANK-of-SIZE.pt.
"""

import os
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from joblib import Parallel, delayed
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering, _images, _input, _monitor
from deepcluster_sk._distributed import join_ranks
from deepcluster_sk._synced_batch_norm import synchronizing_batch_norm

METHODS = {"DAC": DACClustering, "DCCM": DCCMClustering, "DCSS": DCSSClustering}
RANK, SIZE = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def digits(n_samples):
    return (load_digits().images[:n_samples] / 16).astype(np.float32)


class Skipping(nn.Module):
    """A user's network with a layer that has no part in its output."""

    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(64, 8), nn.Linear(64, 8)

    def forward(self, batch):
        return self.used(batch.flatten(1))


def raised(function):
    """Name and text of what ``function`` raises."""
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def parts(folder):
    """Gathers, their gradients and batch norm."""
    ranks = join_ranks()
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(144, 5),
        nn.BatchNorm1d(5, affine=False),
    )
    images, weights = torch.rand(11, 1, 8, 8), torch.rand(11, 5)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    @ranks.parallel(optimizer, some_unused=False)
    def step(rows):
        features = ranks.gather(network(images[ranks.part(rows)]), len(rows))
        of_each = ranks.sum((network[0].weight ** 2).sum() / ranks.size)  # what is summed over ranks
        return (features * weights[rows]).square().sum() + (features @ features.T).tanh().mean() + of_each

    with synchronizing_batch_norm(network, ranks):
        loss = step(torch.arange(11))
        loss.backward()
        network.eval()
        evaluated = network(images)
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    kinds = [type(layer).__name__ for layer in network]
    return {
        "loss": loss.detach(),
        "gradients": gradients,
        "state": network.state_dict(),
        "kinds": kinds,
        "evaluated": evaluated.detach(),
    }


# Steps so small that what differs by rounding stays so; by default a process on two threads parts from one on one.
CALM = {
    "DAC": {"warmup_epochs": 0, "max_epochs": 4, "lr": 1e-6},
    "DCCM": {"warmup_epochs": 0, "max_epochs": 4, "lr": 1e-6},
    "DCSS": {"pretrain_epochs": 0, "mnet_start_epochs": 0, "max_epochs": 2, "lr": 1e-6, "membership_epochs": 1},
}
# Short fits with all phases.
USUAL = {name: {"max_epochs": 2, "n_init": 2} for name in METHODS}


def fits(folder):
    """Each method's fit, calm and usual, with the loss of every step."""
    seen = {}
    losses, add = [], _monitor.RunningMean.add

    def noting(self, total, count):
        if count == 1:
            losses.append(float(torch.as_tensor(total).detach()))
        add(self, total, count)

    _monitor.RunningMean.add = noting
    for kind, settings in (("calm", CALM), ("usual", USUAL)):
        for name, method in METHODS.items():
            losses.clear()
            estimator = method(n_clusters=10, precision="float32", random_state=0, **settings[name])
            images = digits(600)
            estimator.fit(images)
            report = {key: value for key, value in estimator.fit_report_.items() if not isinstance(value, np.ndarray)}
            seen[name, kind] = {
                "losses": list(losses),
                "labels": torch.from_numpy(estimator.labels_),
                "predicted": torch.from_numpy(estimator.predict(images)),
                "history": [{**record, "seconds": 0} for record in estimator.history_],
                "report": report,
                "kinds": sorted({type(layer).__name__ for layer in estimator.module_.modules()}),
            }
    _monitor.RunningMean.add = add
    return seen


def edges(folder):
    """Input that is refused, files, printing, workers and new samples."""
    images, seen = digits(200), {}
    dac = DACClustering(3, max_epochs=1, warmup_epochs=1, random_state=0)
    seen["three clusters"] = torch.from_numpy(dac.fit(images).labels_)
    seen["other shape"] = raised(lambda: dac.fit(images[: 100 + RANK]))
    seen["other parameter"] = raised(lambda: DACClustering(3 + RANK).fit(images))
    seen["none there"] = raised(lambda: DACClustering(3, max_epochs=2 if RANK else None).fit(images))
    seen["other network"] = raised(lambda: DACClustering(3, network=nn.Linear(64, 3) if RANK else "mlp").fit(images))
    same = {"n_clusters": np.int64(2) if RANK else 2, "image_shape": [8, 8] if RANK else (8, 8)}
    alike = DACClustering(**same, max_epochs=1, warmup_epochs=0, checkpoint_every=10 * (1 + RANK))
    seen["written otherwise"] = alike.fit(images.reshape(200, 64)).labels_
    with_nan = images.copy()
    with_nan[150, 0, 0] = np.nan  # in the part of the last rank
    seen["NaN"] = raised(lambda: dac.fit(with_nan))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seen["no seed"] = torch.from_numpy(
            DACClustering(3, max_epochs=1, warmup_epochs=0, verbose=1).fit(images).labels_
        )
        dac.fit(np.zeros((40, 8, 8)))
    seen["warned"] = sorted({warning.category.__name__ for warning in caught})

    decoded = []
    decode = _images.decode
    _input.decode = lambda path, size: (decoded.append(path), decode(path, size))[1]
    pictures = Path(folder) / "pictures"
    dac = DACClustering(2, max_epochs=1, warmup_epochs=1, random_state=0, on_error="skip")
    seen["files"] = torch.from_numpy(dac.fit(pictures).labels_)
    seen["unreadable"], seen["decoded"] = dac.unreadable_, sorted(decoded)

    workers = Parallel(n_jobs=2)(delayed(join_ranks)() for _ in range(2))
    seen["workers"] = [ranks.size for ranks in workers]

    def augment(batch):
        return batch + 0.1 * torch.randn(len(batch), 1, 1, 1)

    dac = DACClustering(3, max_epochs=2, warmup_epochs=1, random_state=0, augment=augment).fit(images)
    dac.partial_fit(images[:50])
    seen["more"] = torch.from_numpy(dac.predict(images))
    seen["seen"] = dac.n_samples_seen_
    skipping = DACClustering(3, network=Skipping(), max_epochs=1, warmup_epochs=1, random_state=0)
    seen["skipping"] = torch.from_numpy(skipping.fit(images).labels_)
    dcss = DCSSClustering(3, max_epochs=1, random_state=0).fit(images).partial_fit(images[:60])
    seen["more of DCSS"] = torch.from_numpy(dcss.predict(images))
    dac.save(Path(folder) / f"saved-{SIZE}")
    return seen


def own_group(folder):
    """A fit in a process group of the caller's, which stays the caller's."""
    meeting = f"file://{Path(folder).absolute() / 'meeting'}"
    dist.init_process_group("gloo", init_method=meeting, rank=RANK, world_size=SIZE)
    dac = DACClustering(3, max_epochs=1, warmup_epochs=1, random_state=0).fit(digits(200))
    total = torch.ones(1)
    dist.all_reduce(total)
    dist.destroy_process_group()
    return {"labels": torch.from_numpy(dac.labels_), "total": total}


def killed(folder):
    """A fit in which the last rank of several is killed in the fifth epoch of DAC's own loop."""
    end = _monitor.Monitor.record

    def record(self, **values):
        under_way = self.history[-1]
        if SIZE > 1 and under_way["phase"] == "DAC" and under_way["epoch"] == 4 and RANK == SIZE - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        end(self, **values)

    _monitor.Monitor.record = record
    dac = DACClustering(
        10, max_epochs=12, precision="float32", random_state=0, checkpoint_dir=folder, checkpoint_every="1 epoch"
    )
    dac.fit(digits(600))
    return {"labels": torch.from_numpy(dac.labels_), "history": [record["seconds"] for record in dac.history_]}


def pictures(folder):
    """Twelve images of digits, the fourth of which is no image."""
    folder.mkdir()
    for i, image in enumerate(load_digits().images[:12]):
        Image.fromarray((image * 15).astype(np.uint8)).save(folder / f"{i:02d}.png")
    (folder / "03.png").write_bytes(b"no image")


if __name__ == "__main__":
    torch.set_num_threads(1)
    place, scenario = Path(sys.argv[1]), sys.argv[2]
    torch.save(globals()[scenario](place), place / f"{scenario}-{RANK}-of-{SIZE}.pt")
