"""What 100 million images on 64 GPUs would take, from measured figures: python benchmarks/plan.py --measure

Without ``--measure`` the arithmetic is printed alone. ``tables.py`` puts it into docs/plan.rst.
"""

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _results import read_record, write_record
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from deepcluster_sk._checkpoint import write
from deepcluster_sk._images import decode
from deepcluster_sk.networks import build_cluster_network

# The task: photographs of 64x64 pixels, as files of some 256x256, in a thousand clusters.
N_IMAGES, N_GPUS, GPUS_A_MACHINE, CORES_A_MACHINE = 100_000_000, 64, 8, 64
SIDE, FILE_SIDE, N_CLUSTERS, BATCH_A_GPU, N_CANDIDATES, N_NEIGHBORS = 64, 256, 1000, 256, 20_000, 5
# What no machine here can measure: taken for granted, and said so on the page.
ASSUMED = {
    "GPU: images a second forward and backward": 20_000,
    "network between machines, bytes a second": 12.5e9,
    "price of a GPU, dollars an hour": 2.0,
}

HEAD = """Planning a large run
====================

Written by ``benchmarks/tables.py``; the arithmetic is ``benchmarks/plan.py``. It works out {task}, from what was
measured on one core of the machine of the other benchmarks, and from what could not be measured there and is assumed:
{assumed}. Put in your own figures at the top of the script.

"""


def rate(function: Callable[[], object], amount: float, seconds: float = 2.0) -> float:
    """Amount a second, over calls for some seconds."""
    function()
    start, n_calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        function()
        n_calls += 1
    return n_calls * amount / (time.perf_counter() - start)


def measure() -> dict[str, float]:
    """Rates of one core and of the disk."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        smooth = Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8)).resize((FILE_SIDE, FILE_SIDE))
        jpeg = io.BytesIO()
        smooth.save(jpeg, "JPEG", quality=85)
        path = Path(folder) / "image.jpg"
        path.write_bytes(jpeg.getvalue())
        decoded = rate(lambda: decode(str(path), (SIDE, SIDE)), 1)
        content = {"tensor": torch.rand(2**25)}
        written = rate(lambda: write(Path(folder) / "state.ckpt", content), 2**27)
        rows = np.lib.format.open_memmap(Path(folder) / "rows.npy", "w+", np.uint8, (20_000, 3, SIDE, SIDE))
        rows[:] = 1
        picked = random.permutation(len(rows))[:2000]
        read = rate(lambda: rows[picked], len(picked))
    candidates = random.normal(size=(N_CANDIDATES, 64)).astype(np.float32)
    search = NearestNeighbors(n_neighbors=N_NEIGHBORS + 1, algorithm="brute").fit(candidates)
    return {
        "images decoded": decoded,
        "images read from a memory map": read,
        "bytes of a checkpoint written": written,
        "searches among 20,000 samples": rate(lambda: search.kneighbors(candidates[:500]), 500),
        "indices shuffled": rate(lambda: torch.randperm(2**22), 2**22),
    }


def sizes() -> dict[str, float]:
    """Numbers of the network and of a step, and bytes that a GPU sends in it."""
    network = build_cluster_network("auto", (3, SIDE, SIDE), N_CLUSTERS)
    n_parameters, batch = sum(parameter.numel() for parameter in network.parameters()), BATCH_A_GPU * N_GPUS
    around = 2 * (N_GPUS - 1) / N_GPUS  # a sum goes around a ring once to be made and once to be told
    return {
        "n_parameters": n_parameters,
        "batch": batch,
        "gradients": around * 4 * n_parameters,
        "gathered": around * 4 * batch * N_CLUSTERS,
    }


def limits_of(rates: dict[str, float]) -> dict[str, float]:
    """Seconds of a pass, by what it would take if that were all."""
    found, n_cores = sizes(), N_GPUS // GPUS_A_MACHINE * CORES_A_MACHINE
    sent = N_IMAGES / found["batch"] * (found["gradients"] + 2 * found["gathered"])
    return {
        "sending": sent / ASSUMED["network between machines, bytes a second"],
        "the network": N_IMAGES / (N_GPUS * ASSUMED["GPU: images a second forward and backward"]),
        "decoding": N_IMAGES / (n_cores * rates["images decoded"]),
    }


def arithmetic(rates: dict[str, float]) -> list[list[str]]:
    """Rows of what, how it is found, and how much."""
    found, limits = sizes(), limits_of(rates)
    n_parameters, batch, gradients, gathered = found.values()
    sent, trained, decoding = limits.values()
    n_cores, n_steps = N_GPUS // GPUS_A_MACHINE * CORES_A_MACHINE, N_IMAGES / batch
    reading = N_IMAGES / (n_cores * rates["images read from a memory map"])
    kept = N_IMAGES * (4 * N_NEIGHBORS + 8 + 8)
    checkpoint = N_IMAGES * 8 + 3 * 4 * n_parameters
    shuffled = N_IMAGES / rates["indices shuffled"]
    pairs = 4 * batch**2
    neighbors = N_IMAGES / (n_cores * rates["searches among 20,000 samples"])
    a_pass = max(trained, decoding) + sent + shuffled
    from_map = max(trained, reading) + sent + shuffled
    price = N_GPUS * ASSUMED["price of a GPU, dollars an hour"] / 3600
    per_core = {name: f"{value:,.0f} a second and core" for name, value in rates.items()}
    return [
        ["what", "how it is found", "how much"],
        ["parameters of the network", f"``build_cluster_network`` for {SIDE}x{SIDE}x3", f"{n_parameters:,}"],
        ["samples a step", f"{BATCH_A_GPU} on each of {N_GPUS} GPUs", f"{batch:,}"],
        ["steps a pass", "images / samples a step", f"{n_steps:,.0f}"],
        ["network, a pass", "assumed images a second of a GPU", duration(trained)],
        ["decoding files, a pass", per_core["images decoded"], duration(decoding)],
        ["reading a memory map of bytes instead", per_core["images read from a memory map"], duration(reading)],
        ["size of that map", f"{SIDE}x{SIDE}x3 bytes an image", size(N_IMAGES * 3 * SIDE**2)],
        ["gradients sent, a step and GPU", "2 (W - 1) / W times 4 bytes a parameter", size(gradients)],
        ["features gathered, a step and GPU", "batch x K floats, there and back", size(gathered)],
        ["sending, a pass", "gradients, features of both looks at a block", duration(sent)],
        [
            "order of an epoch, a pass and rank",
            per_core["indices shuffled"] + "; every rank draws it",
            duration(shuffled),
        ],
        ["pairs of a block, a rank", "batch x batch floats; each rank has them all", size(pairs)],
        ["labels and neighbours, a rank", f"{N_NEIGHBORS} neighbours of 4 bytes, two labels of 8", size(kept)],
        ["checkpoint", "labels, weights and two moments", size(checkpoint)],
        ["writing it", "one disk", duration(checkpoint / rates["bytes of a checkpoint written"])],
        ["neighbours, once", per_core["searches among 20,000 samples"], duration(neighbors)],
        ["a pass over files", "slower of network and decoding; sending, order", duration(a_pass)],
        ["its price", "assumed price of a GPU", f"{a_pass * price:,.0f} dollars"],
        ["a pass over the memory map", "likewise", duration(from_map)],
        ["its price", "", f"{from_map * price:,.0f} dollars"],
    ]


def breaks(rates: dict[str, float]) -> list[str]:
    """What gives way first, each as a line."""
    batch = BATCH_A_GPU * N_GPUS
    limits = limits_of(rates)
    slowest = " then ".join(sorted(limits, key=limits.get, reverse=True))
    whole = size(N_IMAGES * (4 * N_NEIGHBORS + 16))
    return [
        "What breaks first:",
        "",
        f"1. **{slowest.capitalize()}**, by the seconds of a pass. Fewer clusters or a smaller batch send less; images "
        "written once to a memory map of bytes (``numpy.lib.format.open_memmap``) need no decoding, if the disk gives "
        "them fast enough, which was not measured: the rate above is that of memory.",
        f"2. **Pairs.** Every rank has the pair matrix of a whole block, {size(4 * batch**2)} a step for {batch:,} "
        "samples, a few times over. It grows with the square of the number of GPUs: keep ``block_size`` and "
        "``batch_size`` at 16,384 and below.",
        f"3. **Labels, neighbours and the order of an epoch** are whole on every rank: {whole} each, {GPUS_A_MACHINE} "
        "times a machine.",
        "4. **Random draws** of a batch are made whole on every rank, so that the result does not depend on the number "
        "of ranks. For images that is 10 numbers a sample; for vectors of d features it is d.",
        "5. **Checkpoints** are written by rank 0 while the others wait at their next exchange.",
        "",
    ]


def duration(seconds: float) -> str:
    """In the unit that suits."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def size(n_bytes: float) -> str:
    """In the unit that suits."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= length:
            return f"{n_bytes / length:.1f} {unit}"
    return f"{n_bytes / 1e3:.0f} kB"


def agreement_table(rows: list[dict]) -> list[list[str]]:
    """How far losses and labels part from those of one process on one thread."""
    header = ["part", "learning rate", "by", "largest relative difference of 50 losses", "equal labels"]
    keys = ("part", "lr", "by")
    return [header] + [[*(row[key] for key in keys), f"{row['loss']:.1e}", f"{row['labels']:.2%}"] for row in rows]


def fits_table(rows: list[dict]) -> list[list[str]]:
    """Mean ACC by method and number of processes."""
    header = ["method", "processes", "seeds", "ACC mean", "ACC worst", "NMI mean"]
    cells = {(row["method"], row["size"]): [] for row in rows}
    for row in rows:
        cells[row["method"], row["size"]].append((row["acc"], row["nmi"]))
    return [header] + [
        [method, str(n), str(len(found)), *(f"{x:.3f}" for x in (acc.mean(), acc.min(), nmi.mean()))]
        for (method, n), found in cells.items()
        for acc, nmi in [np.array(found).T]
    ]


def killed_table(rows: list[dict]) -> list[list[str]]:
    """What became of fits in which a rank was killed."""
    header = ["method", "processes, then", "all ended after", "ACC in the end", "ACC undisturbed"]
    return [header] + [
        [
            row["method"],
            "{} → {}".format(*row["sizes"]),
            f"{row['ended_after']:.0f} s, start included",
            f"{row['acc']:.3f}",
            f"{row['undisturbed']:.3f}",
        ]
        for row in rows
    ]


def steps_table(rows: list[dict]) -> list[list[str]]:
    """Bytes and seconds of a step."""
    header = ["part", "processes", "seconds a step", "bytes a step, counted", "predicted", "of these gradients"]
    keys = ("bytes", "expected_bytes", "gradient_bytes")
    return [header] + [
        [row["part"], str(row["size"]), f"{row['seconds']:.3f}", *(size(row[key]) for key in keys)] for row in rows
    ]


# Parts of the record of ``ranks.py``: heading, what it is, and its table.
MEASURED = {
    "agreement": (
        "The same losses, by 1, 2 and 4 processes",
        "The first 50 steps of each method's own loop on the digits in float32, from random weights, and of the start "
        "of fits by default settings; labels are those after the loop, and after at most 8 epochs a phase. Rounding "
        "parts them by default, and one process on two threads as far as several; steps of 1e-6 keep that small.",
        agreement_table,
    ),
    "fits": ("The same quality", "Whole fits of the digits by default settings.", fits_table),
    "killed": (
        "A rank is killed",
        "SIGKILL in the twelfth epoch, with ``checkpoint_every='1 epoch'``; then the same with another number.",
        killed_table,
    ),
    "steps": (
        "Bytes and seconds of a step",
        "Digits, batches of 256, two cores, gloo: bytes that all processes together send through the loopback device "
        "between two steps, headers and the labelling of blocks included, and what the sizes of the exchanges predict.",
        steps_table,
    ),
}


def head() -> str:
    """Beginning of the page."""
    task = f"{N_IMAGES:,} images in {N_CLUSTERS:,} clusters on {N_GPUS} GPUs ({GPUS_A_MACHINE} a machine of "
    task += f"{CORES_A_MACHINE} cores)"
    return HEAD.format(task=task, assumed="; ".join(f"{name}: {value:,.4g}" for name, value in ASSUMED.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure the rates anew")
    if parser.parse_args().measure:
        write_record("plan", rates=measure())
    rates = read_record("plan")["rates"]
    for row in arithmetic(rates):
        print(f"{row[0]:36s} {row[1]:48s} {row[2]}")
    print(*breaks(rates), sep="\n")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
