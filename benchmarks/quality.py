"""What our short cuts cost in quality: python benchmarks/quality.py

DACClustering, DCCMClustering, DCSSClustering: on the digits in bfloat16 against float32, seed by seed.
positions: DCCM's discriminator at the default number of positions against all of them, seed by seed, on digits enlarged
to 16x16 pixels (at 8x8 the default is all).
variance: spread of the gradient of the mutual information over random positions, in units of its spread over batches.

Results go to benchmarks/results/quality.json; labels only score the fits.
"""

import argparse
from functools import partial

import numpy as np
import torch
from _paper import enlarge
from _results import fit_cell, update_record
from sklearn.datasets import load_digits

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering
from deepcluster_sk._data import ArraySamples, Scaling
from deepcluster_sk._engine import Runtime, train_on
from deepcluster_sk._monitor import RunningMean
from deepcluster_sk._train_dccm import block_step, label_block, triplet_loss
from deepcluster_sk.networks import LocalDiscriminator

POSITIONS = (1, 4, 16, 49, 98)
BATCH, BLOCK, DRAWS = 128, 1000, 40


def paired(name: str, ours: list[dict], others: list[dict]) -> dict:
    """Mean difference of ACC over the seeds, and its standard error."""
    other_acc = {cell["seed"]: cell["acc"] for cell in others}
    difference = np.array([cell["acc"] - other_acc[cell["seed"]] for cell in ours])
    error = float(difference.std(ddof=1) / len(difference) ** 0.5)
    mean = float(difference.mean())
    met = abs(mean) <= min(2 * error, 0.03)
    print(f"{name}: mean difference {mean:+.4f}, standard error {error:.4f}: {'met' if met else 'NOT met'}", flush=True)
    return {
        "name": name,
        "mean_difference": mean,
        "standard_error": error,
        "differences": difference.tolist(),
        "target_met": met,
    }


def precision(method: type, images: np.ndarray, y: np.ndarray, seeds: list[int]) -> dict:
    cells = {
        name: [
            fit_cell(f"{method.__name__}, {name}", seed, method(random_state=seed, precision=name), images, y)
            for seed in seeds
        ]
        for name in ("bfloat16", "float32")
    }
    row = paired(f"{method.__name__}, bfloat16 - float32", cells["bfloat16"], cells["float32"])
    return {"cells": cells["bfloat16"] + cells["float32"], "paired": row}


def positions(images: np.ndarray, y: np.ndarray, seeds: list[int]) -> dict:
    X = enlarge(images, 16)
    cells = {
        label: [
            fit_cell(f"DCCM, {label} positions", seed, DCCMClustering(random_state=seed, **given), X, y)
            for seed in seeds
        ]
        for label, given in (("default", {}), ("all", {"mi_positions": None}))
    }
    row = paired("DCCMClustering, default - all positions", cells["default"], cells["all"])
    return {"cells": cells["default"] + cells["all"], "paired": row}


def variance(images: np.ndarray, y: np.ndarray, seeds: list[int]) -> dict:
    """On digits of 28x28, whose shallow map has 14x14 positions, with the network of a fit and a trained discriminator.

    Partners are the nearest and the farthest, so that nothing but positions, or the batch, is random.
    """
    X = enlarge(images, 28)
    network = DCCMClustering(random_state=seeds[0], device="cpu").fit(X).module_
    samples = ArraySamples(X[:BLOCK, None], Scaling.of(X))
    generator = torch.Generator().manual_seed(seeds[0])
    runtime = Runtime(torch.device("cpu"), "float32", lambda batch, _: batch, generator, BATCH)
    network.requires_grad_()
    thresholds = {"graph_threshold": 0.95, "label_threshold": 0.9}
    block = label_block(network, samples, torch.arange(BLOCK), **thresholds, runtime=runtime)
    network.eval()
    example = network.stages(runtime.load(samples, torch.arange(2)))
    n_all = example.shallow[0, 0].numel()
    torch.manual_seed(seeds[0])
    discriminator = LocalDiscriminator(example.shallow.shape[1], example.embedding.shape[1])
    options = {"pair_sampling": "nearest-farthest", "runtime": runtime}
    weights = {"label_weight": 5.0, "local_robustness": False, "mi_weight": 0.1}
    step = block_step(network, discriminator, samples, block, **weights, n_positions=16, **options)
    optimizer = torch.optim.RMSprop(discriminator.parameters(), lr=1e-4)
    for _ in range(20):
        train_on(runtime.shuffled(BLOCK), step, optimizer, RunningMean())

    def gradient(rows: torch.Tensor, n_positions: int | None) -> torch.Tensor:
        stages = network.stages(runtime.load(samples, rows))
        parts = discriminator, stages.shallow, stages.embedding, block, rows
        loss = triplet_loss(*parts, n_positions=n_positions, **options)
        parameters = [*network.backbone.parameters(), *network.embedder.parameters()]
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        return torch.cat([part.flatten() for part in found if part is not None])

    def spread(gradients: list[torch.Tensor]) -> float:
        """Trace of the covariance."""
        return torch.stack(gradients).var(dim=0).sum().item()

    batches = [torch.randperm(BLOCK, generator=generator)[:BATCH] for _ in range(DRAWS)]
    of_batches = spread([gradient(rows, None) for rows in batches])
    figures = {}
    for n_positions in POSITIONS:
        of_positions = np.mean([spread([gradient(rows, n_positions) for _ in range(DRAWS)]) for rows in batches[:5]])
        figures[n_positions] = float(of_positions / of_batches)
        print(f"{n_positions} of {n_all} positions add {figures[n_positions]:.3f} of the batches' variance", flush=True)
    return {"n_all": n_all, "batch_size": BATCH, "share_of_batch_variance": figures}


METHODS = (DACClustering, DCCMClustering, DCSSClustering)
PARTS = {
    **{method.__name__: partial(precision, method) for method in METHODS},
    "positions": positions,
    "variance": variance,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--only", choices=list(PARTS), help="replaces just this part of the record")
    options = parser.parse_args()
    if len(options.seeds) < 2:
        parser.error("--seeds needs at least two, to be compared seed by seed.")
    images, y = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8)
    for part in [options.only] if options.only else PARTS:
        update_record("quality", part, PARTS[part](images, y, options.seeds), seeds=options.seeds)


if __name__ == "__main__":
    main()
