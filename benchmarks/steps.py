"""Speed of a training step: python benchmarks/steps.py

Three tables, each a ratio within one run, interleaved, medians of ``--repeats``:

- *overhead*: each method's step against the bare network (forward, backward, optimiser) on the same batches in the same
  precision. The forward pass that labels a block, and the augmentation, are lines of their own.
- *plain*: a block of 1,000 images, or a batch of phase 1 or of DCCM, against the plain transcription of the
  paper in ``_plain.py`` on the papers' networks, and of DCSS on the default one too; then the same with one of our
  changes taken back at a time, each in a process of its own.
- *stages*: where the time of our step goes.

``--precision float32`` measures all of it as on hardware without bfloat16. Results go to benchmarks/results/.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from unittest import mock

import _plain as plain
import numpy as np
import torch
from _results import read_record, update_record
from torch import nn, optim

from deepcluster_sk import _engine
from deepcluster_sk._data import ArraySamples, Scaling
from deepcluster_sk._engine import Runtime, train_on
from deepcluster_sk._monitor import LabelTracker, RunningMean
from deepcluster_sk._train_dac import block_step as dac_step
from deepcluster_sk._train_dac import label_block as label_dac_block
from deepcluster_sk._train_dccm import block_step as dccm_step
from deepcluster_sk._train_dccm import label_block as label_dccm_block
from deepcluster_sk._train_dcss import PairStatistics, cluster_step, pair_step, train_on_clusters
from deepcluster_sk.augment import ImageAugmentation
from deepcluster_sk.losses import pair_cross_entropy
from deepcluster_sk.networks import DCSSNetwork, LocalDiscriminator, build_autoencoder, build_cluster_network

CPU = torch.device("cpu")
BLOCK, BATCH, N_CLUSTERS = 1000, 128, 10
AUGMENT = ImageAugmentation()
Job = Callable[[], object]


def identity(batch, generator):
    return batch


def medians(jobs: dict[str, Job], repeats: int) -> dict[str, float]:
    """Seconds of each job, run in turn."""
    seconds = {name: [] for name in jobs}
    for repeat in range(-1, repeats):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if repeat >= 0:  # the first is for warming up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


class Setting:
    """Images, network and optimiser of one method, and its jobs: ours, the bare network, and the plain one."""

    def __init__(
        self, shape, network="auto", *, precision, as_bytes=True, channels_last=True, plain_parts=False, block=BLOCK
    ):
        self.plain_parts = plain_parts  # the networks' parts as the plain transcription has them
        pixels = np.random.default_rng(0).integers(0, 256, (block, *shape), dtype=np.uint8)
        self.images = torch.from_numpy(pixels) / 255
        if not as_bytes:
            pixels = self.images.numpy()
        self.samples = ArraySamples(pixels, Scaling(0.0, 255.0 if as_bytes else 1.0))
        generator = torch.Generator().manual_seed(0)
        self.runtime = Runtime(CPU, precision, AUGMENT, generator, BATCH, channels_last)
        self.still = Runtime(CPU, precision, identity, generator, BATCH, channels_last)
        self.everything = torch.arange(block)
        torch.manual_seed(0)
        self.build(shape, network)

    def place(self, network: nn.Module) -> nn.Module:
        if self.plain_parts:
            plain.make_plain(network)
        return self.runtime.place(network).train()

    def ours(self) -> None:
        self.train(self.runtime)

    def still_ours(self, labelled) -> None:
        """Ours without the labelling and the augmentation."""
        self.train(self.still, labelled)

    def label(self) -> object:
        return self.label_with(self.runtime)

    def augmentation(self) -> None:
        for rows in self.everything.tensor_split(len(self.everything) // BATCH):
            self.runtime.view(self.samples, rows)

    def bare(self) -> None:
        """The network's own forward, backward and optimiser step on ready batches."""
        for batch in self.ready:
            with self.runtime.autocast():
                outputs = self.forward(batch)
            loss = sum(output.float().square().mean() for output in outputs)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()

    def make_ready(self, views: int = 1) -> None:
        batches = [
            torch.cat([self.runtime.view(self.samples, rows)] * views)
            for rows in self.everything.tensor_split(len(self.everything) // BATCH)
        ]
        self.ready = [batch.contiguous(memory_format=torch.channels_last) for batch in batches]


class DAC(Setting):
    def build(self, shape, network):
        self.network = self.place(build_cluster_network(network, shape, N_CLUSTERS))
        self.optimizer = optim.RMSprop(self.network.parameters(), lr=1e-4, foreach=True)
        self.forward = lambda batch: [self.network(batch)]
        self.make_ready()

    def label_with(self, runtime):
        return label_dac_block(self.network, self.samples, self.everything, 0.95, 0.455, runtime)

    def train(self, runtime, block=None):
        block = block or self.label_with(runtime)
        options = {"pair_loss": pair_cross_entropy, "consistency_weight": 0.0, "runtime": runtime}
        train_on(
            runtime.shuffled(len(self.everything)),
            dac_step(self.network, self.samples, block, **options),
            self.optimizer,
            RunningMean(),
        )

    def plain(self):
        augment = partial(AUGMENT, generator=self.runtime.generator)
        plain.dac_block(
            self.network, self.images, self.optimizer, upper=0.95, lower=0.455, batch_size=BATCH, augment=augment
        )


class DCCM(Setting):
    def __init__(self, *args, positions=None, mi_weight=0.1, **kwargs):
        self.positions, self.mi_weight = positions, mi_weight
        super().__init__(*args, **kwargs)

    def build(self, shape, network):
        self.network = self.place(build_cluster_network(network, shape, N_CLUSTERS, embedding_dim=64))
        stages = self.network.stages(torch.zeros(2, *shape))
        discriminator = plain.ConcatenatedDiscriminator if self.plain_parts else LocalDiscriminator
        self.discriminator = discriminator(stages.shallow.shape[1], stages.embedding.shape[1])
        parameters = [*self.network.parameters(), *self.discriminator.parameters()]
        self.optimizer = optim.RMSprop(parameters, lr=1e-4, foreach=True)
        self.forward = lambda batch: [self.network(batch)]
        self.make_ready(views=2)

    def label_with(self, runtime):
        thresholds = {"graph_threshold": 0.95, "label_threshold": 0.9}
        return label_dccm_block(self.network, self.samples, self.everything, **thresholds, runtime=runtime)

    def train(self, runtime, block=None):
        block = block or self.label_with(runtime)
        weights = {"label_weight": 5.0, "local_robustness": True, "mi_weight": self.mi_weight}
        options = {"n_positions": self.positions, "pair_sampling": "nearest-random", "runtime": runtime}
        step = dccm_step(self.network, self.discriminator, self.samples, block, **weights, **options)
        train_on(runtime.shuffled(len(self.everything)), step, self.optimizer, RunningMean())

    def plain(self):
        plain.dccm_block(
            self.network,
            self.discriminator,
            self.images,
            self.optimizer,
            batch_size=BATCH,
            augment=partial(AUGMENT, generator=self.runtime.generator),
            with_information=self.mi_weight > 0,
        )


class DCSS(Setting):
    def build(self, shape, network):
        default = network == "auto"
        autoencoder = build_autoencoder(network, shape, latent_dim=64 if default else 10)
        built = DCSSNetwork(
            autoencoder.encoder,
            autoencoder.decoder,
            sample_shape=shape,
            n_clusters=N_CLUSTERS,
            fuzzifier=1.5,
            logit_scale=1.5 if default else None,
        )
        self.network = self.place(built)
        with torch.no_grad():
            self.network.centers.copy_(self.network.encode(self.images[:N_CLUSTERS]) + 0.01)
        self.build_optimizer()


class Phase1(DCSS):
    """One batch: K steps."""

    rows = torch.arange(BATCH)

    def build_optimizer(self):
        parameters = self.network.autoencoder_parameters()
        self.optimizer = optim.SGD(parameters, lr=1e-7, momentum=0.9, fused=True)
        self.forward = lambda batch: [self.network.decoder(self.network.encoder(batch))]
        batch = self.network.standardize(self.runtime.load(self.samples, self.rows))
        self.ready = [batch] * N_CLUSTERS

    def label_with(self, runtime):
        return cluster_step(self.network, self.samples, self.rows, centering_weight=0.1, runtime=runtime)

    def train(self, runtime, step=None):
        train_on_clusters(step or self.label_with(runtime), self.optimizer, N_CLUSTERS, "successive")

    def augmentation(self):
        """Phase 1 has none."""

    def plain(self):
        plain.cluster_batch(self.network, self.images[self.rows], self.optimizer)


class Phase2(DCSS):
    """A block of 1,000 images in batches; each batch is judged by a forward pass of its own."""

    def build_optimizer(self):
        parameters = [*self.network.encoder.parameters(), *self.network.mnet.parameters()]
        self.optimizer = optim.Adam(parameters, lr=1e-5, fused=True)
        self.forward = lambda batch: [self.network.mnet(self.network.encode(batch))]
        self.make_ready()

    def label_with(self, runtime):
        """The forward passes that judge, alone."""
        for rows in self.everything.tensor_split(len(self.everything) // BATCH):
            batch = runtime.load(self.samples, rows)
            with _engine.by_batch_statistics(self.network), runtime.autocast():
                self.network.mnet(self.network.encode(batch))
        return True

    def train(self, runtime, labelled=None):
        tracker = LabelTracker.empty(BLOCK, N_CLUSTERS, CPU)
        thresholds = {"similar_threshold": 0.8, "dissimilar_threshold": 0.2}
        options = {"by_memberships": True, **thresholds, "runtime": runtime}
        step = pair_step(self.network, self.samples, PairStatistics(tracker), **options)
        train_on(runtime.shuffled(len(self.everything)), step, self.optimizer, RunningMean())

    def plain(self):
        augment = partial(AUGMENT, generator=self.runtime.generator)
        plain.phase_2_batches(self.network, self.images, self.optimizer, batch_size=BATCH, augment=augment)


def overhead(name: str, setting: Setting, repeats: int) -> dict:
    labelled = setting.label()
    jobs = {
        "bare": setting.bare,
        "step": partial(setting.still_ours, labelled),
        "labelling": setting.label,
        "augmentation": setting.augmentation,
    }
    seconds = medians(jobs, repeats)
    step = seconds["step"]
    if isinstance(setting, Phase2):  # its step judges every batch anew
        step -= seconds["labelling"]
    row = {
        "method": name,
        "overhead": step / seconds["bare"],
        "labelling": seconds["labelling"] / seconds["bare"],
        "augmentation": seconds["augmentation"] / seconds["bare"],
        "bare_seconds": seconds["bare"],
    }
    print(
        f"{name:28s} step {row['overhead']:.3f} of the bare network ({1e3 * seconds['bare']:.0f} ms); "
        f"labelling {row['labelling']:.3f}, augmentation {row['augmentation']:.3f}",
        flush=True,
    )
    return row


def stages(name: str, setting: Setting, repeats: int) -> dict:
    """Share of each stage in the time of our step, each without the stages within it."""
    spent, open_stages = {}, []

    def timed(stage, function):
        def run(*args, **kwargs):
            start = time.perf_counter()
            open_stages.append(0.0)
            result = function(*args, **kwargs)
            elapsed, inner = time.perf_counter() - start, open_stages.pop()
            spent[stage] = spent.get(stage, 0.0) + elapsed - inner
            if open_stages:
                open_stages[-1] += elapsed
            return result

        return run

    network = setting.network
    targets = {
        "loading": (Runtime, "load"),
        "augmentation": (Runtime, "transform"),
        "backward": (torch.Tensor, "backward"),
        "optimiser": (setting.optimizer, "step"),
    }
    with ExitStack() as stack:
        for stage, (owner, attribute) in targets.items():
            patched = timed(stage, getattr(owner, attribute))
            stack.enter_context(mock.patch.object(owner, attribute, patched))
        for part in (network, getattr(setting, "discriminator", None)):
            for module in part.children() if part is not None else ():
                stage = "network" if part is network else "discriminator"
                forward = timed(f"{stage}, forward", module.forward)
                stack.enter_context(mock.patch.object(module, "forward", forward))
        job = timed("pairs, losses and the rest", setting.ours)
        for _ in range(repeats):
            job()
    total = sum(spent.values())
    shares = {stage: seconds / total for stage, seconds in sorted(spent.items(), key=lambda item: -item[1])}
    print(f"{name:28s} " + ", ".join(f"{stage} {share:.1%}" for stage, share in shares.items()), flush=True)
    return {"method": name, "shares": shares}


SMALL, LARGE = (1, 28, 28), (3, 32, 32)


def all_overheads(precision: str, repeats: int) -> list[dict]:
    rows = []
    for size, shape in (("28x28", SMALL), ("32x32x3", LARGE)):
        settings = {
            "DAC": DAC(shape, precision=precision),
            "DCCM without MI": DCCM(shape, mi_weight=0.0, precision=precision),
            "DCCM": DCCM(shape, positions=16, precision=precision),
            "DCSS phase 1": Phase1(shape, precision=precision),
            "DCSS phase 2": Phase2(shape, precision=precision),
        }
        rows += [overhead(f"{name}, {size}", setting, repeats) for name, setting in settings.items()]
    return rows


def comparisons(precision: str) -> dict[str, tuple[Callable[..., Setting], dict[str, dict]]]:
    """For each method, what makes its setting, and our changes that can be taken back."""
    common = {
        "bfloat16": {"precision": "float32"},
        "channels last": {"channels_last": False},
        "bytes as they are": {"as_bytes": False},
    }
    if precision == "float32":
        del common["bfloat16"]
    with_folding = {**common, "folding": {"plain_parts": True}}
    with_parts = {**common, "factorising and folding": {"plain_parts": True}}
    for_positions = {**with_parts, "sampling positions": {"positions": None}}

    def maker(kind, shape, network, **fixed):
        return lambda **changed: kind(shape, network, **{"precision": precision, **fixed, **changed})

    return {
        "DAC": (maker(DAC, SMALL, "dac-28"), with_folding),
        "DCCM, all positions": (maker(DCCM, LARGE, "dccm-32", block=BATCH), with_parts),
        "DCCM, 16 positions": (maker(DCCM, LARGE, "dccm-32", positions=16, block=BATCH), for_positions),
        "DCSS phase 1": (maker(Phase1, SMALL, "autoencoder-residual"), with_parts),
        "DCSS phase 2": (maker(Phase2, SMALL, "autoencoder-residual"), with_folding),
        "DCSS phase 1, default network": (maker(Phase1, SMALL, "auto"), with_parts),
        "DCSS phase 2, default network": (maker(Phase2, SMALL, "auto"), with_folding),
    }


def start_job(name: str, precision: str, change: str | None) -> None:
    """What a process that repeats one job does first; no change taken back: our step as it is."""
    global repeated_job
    make, changes = comparisons(precision)[name]
    if change == "plain":
        repeated_job = make(precision="float32", channels_last=False, plain_parts=True).plain
    else:
        repeated_job = make(**changes.get(change, {})).ours


def repeat_job() -> None:
    repeated_job()


def against_plain(name: str, precision: str, repeats: int) -> dict:
    """Ours against the plain transcription, and ours with one change taken back at a time.

    Each has a process of its own, of which one runs at a time: memory that a job leaves behind would speed up the next.
    """
    with ExitStack() as stack:

        def job(change: str | None) -> Job:
            arguments = name, precision, change
            pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=start_job, initargs=arguments)
            stack.enter_context(pool)
            return lambda: pool.submit(repeat_job).result()

        changes = comparisons(precision)[name][1]
        seconds = medians({change: job(change) for change in ("plain", None, *changes)}, repeats)
    ours, plain_seconds = seconds.pop(None), seconds.pop("plain")
    row = {"method": name, "plain_seconds": plain_seconds, "times_faster": plain_seconds / ours}
    row["without"] = {change: plain_seconds / value for change, value in seconds.items()}
    lost = ", ".join(f"{change} {ratio:.2f}" for change, ratio in row["without"].items())
    print(f"{name:28s} {row['times_faster']:.2f} times as fast as plain; without {lost}", flush=True)
    return row


def all_against_plain(precision: str, repeats: int) -> list[dict]:
    return [against_plain(name, precision, repeats) for name in comparisons(precision)]


def all_stages(precision: str, repeats: int) -> list[dict]:
    settings = {
        "DAC": DAC(SMALL, precision=precision),
        "DCCM": DCCM(SMALL, positions=16, precision=precision),
        "DCSS phase 1": Phase1(SMALL, precision=precision),
        "DCSS phase 2": Phase2(SMALL, precision=precision),
    }
    return [stages(name, setting, repeats) for name, setting in settings.items()]


PARTS = {"overhead": all_overheads, "against_plain": all_against_plain, "stages": all_stages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default=_engine.resolve_precision("auto", CPU, SMALL))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", choices=sorted(PARTS), help="replaces just this part of the record")
    parser.add_argument("--rows", help="replaces just those rows against plain whose name holds this")
    options = parser.parse_args()
    name = "steps" if options.precision == "bfloat16" else f"steps-{options.precision}"
    if options.rows:
        kept = read_record(name)["against_plain"]
        names = [row for row in comparisons(options.precision) if options.rows in row]
        made = [against_plain(row, options.precision, options.repeats) for row in names]
        rows = [row for row in kept if row["method"] not in names] + made
        update_record(name, "against_plain", rows, precision=options.precision, repeats=options.repeats)
        return
    for part in [options.only] if options.only else PARTS:
        print(f"\n{part}\n{'-' * len(part)}")
        rows = PARTS[part](options.precision, options.repeats)
        update_record(name, part, rows, precision=options.precision, repeats=options.repeats)


if __name__ == "__main__":
    main()
