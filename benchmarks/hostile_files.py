"""Damaged and hostile files of saved estimators: python benchmarks/hostile_files.py --files 1000

Each file is made from one that DAC, DCCM or DCSS wrote, by a kind of damage or attack and random numbers, and is handed
to ``load`` in a process of its own for all. Every one must be refused by an error that names the file and the reason; a
canary, which many of them try to create, must not appear; and the process must stay below 1 GiB. The record is
benchmarks/results/hostile-files.json.
"""

import argparse
import collections
import hashlib
import io
import json
import os
import pickle
import random
import resource
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import safetensors.torch
import torch
from _results import write_record
from sklearn.datasets import load_digits

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering, load

Attack = Callable[[bytes, bytes, random.Random, Path], bytes]


class Canary:
    """What creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def split(content: bytes) -> tuple[dict, bytes]:
    """Header and tensors of a file."""
    n_header = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + n_header]), content[8 + n_header :]


def joined(header: dict | str, tensors: bytes) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def described(header: dict) -> dict:
    return json.loads(header["__metadata__"]["deepcluster_sk"])


def signed(header: dict, description: dict | str) -> dict:
    """The header with another description and a checksum to go with it."""
    text = description if isinstance(description, str) else json.dumps(description)
    return {**header, "__metadata__": {"deepcluster_sk": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}}


def flipped_bits(content: bytes, other: bytes, rng: random.Random, canary: Path) -> bytes:
    damaged, n_header = bytearray(content), 8 + int.from_bytes(content[:8], "little")
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(n_header) if rng.random() < 0.5 else rng.randrange(len(content))
        damaged[place] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def truncated(content: bytes, other: bytes, rng: random.Random, canary: Path) -> bytes:
    return content[: rng.choice([rng.randrange(len(content)), rng.randrange(2_000), len(content) - 1])]


def extended(content: bytes, other: bytes, rng: random.Random, canary: Path) -> bytes:
    return content + rng.randbytes(rng.choice([1, 8, 1_000]))


def overwritten(content: bytes, other: bytes, rng: random.Random, canary: Path) -> bytes:
    n = rng.choice([16, 512, 4_096])
    start = rng.randrange(len(content) - n)
    return content[:start] + rng.choice([bytes(n), rng.randbytes(n)]) + content[start + n :]


def spliced(content: bytes, other: bytes, rng: random.Random, canary: Path) -> bytes:
    """The beginning of one file and the rest of another."""
    place = rng.randrange(8, min(len(content), len(other)))
    return content[:place] + other[place:]


def swapped_descriptions(content: bytes, other: bytes, rng: random.Random, canary: Path) -> bytes:
    (header, tensors), (of_other, _) = split(content), split(other)
    if rng.random() < 0.3:
        return joined(of_other, tensors)
    return joined({**header, "__metadata__": of_other["__metadata__"]}, tensors)


def places(value, path=()):
    """Every place within nested lists and dictionaries."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def edited_description(content: bytes, other: bytes, rng: random.Random, canary: Path) -> bytes:
    """A value of the description replaced under the old checksum."""
    header, tensors = split(content)
    description = described(header)
    *path, last = rng.choice(list(places(description)))
    target = description
    for key in path:
        target = target[key]
    was = target[last]
    target[last] = rng.choice([v for v in (None, 0, -1, 1e308, "x", [], {}, "../..", str(canary)) if v != was])
    edited = {**header["__metadata__"], "deepcluster_sk": json.dumps(description)}
    return joined({**header, "__metadata__": edited}, tensors)


FORGERIES = [
    {"class": "os.system"},
    {"class": "DACClustering.__init__"},
    {"class": "../DACClustering"},
    {"class": "builtins.eval"},
    {"class": None},
    {"class": ["DACClustering"]},
    {"format": 99},
    {"format": "1"},
    {"own": {"network": "os.system"}},
    {"own": {"augment": "lambda: 0"}},
    {"own": ["network"]},
    {"params": {"n_clusters": 10**9}},
    {"params": {"n_clusters": 2**63}},
    {"params": {"n_clusters": -1}},
    {"params": {"n_clusters": 1e30}},
    {"params": {"n_clusters": [4]}},
    {"params": {"network": "/etc/passwd"}},
    {"params": {"network": "../../weights.pt"}},
    {"params": {"network": ["os.system", "touch"]}},
    {"params": {"shell": "touch CANARY"}},
    {"params": {"__class__": "os.system"}},
    {"params": {"batch_size": "import os"}},
    {"params": {"lr": None}},
    {"fitted": {"_sample_shape": [10**6, 10**6, 10**6]}},
    {"fitted": {"_sample_shape": [2**62, 2**62, 2**62]}},
    {"fitted": {"_sample_shape": [1, -8, -8]}},
    {"fitted": {"_sample_shape": []}},
    {"fitted": {"_sample_shape": "CANARY"}},
    {"fitted": {"_cluster_order": [0, 0, 0, 0]}},
    {"fitted": {"_cluster_order": list(range(10_000))}},
    {"fitted": {"_cluster_order": "0123"}},
    {"fitted": None},
    {"feature_names_in_": {"../": 1}},
    {"feature_names_in_": [1, 2]},
    {"feature_names_in_": 7},
    {"scaling": {"scale": None}},
    {"scaling": {"scale": "1"}},
    {"scaling": {"scale": 0}},
    {"scaling": {"scale": float("nan")}},
    {"scaling": {"offset": "0"}},
    {"scaling": {"offset": float("inf")}},
    {"scaling": None},
    {"units": {"scale": 0}},
    {"units": []},
    {"extra_state": "cos\nsystem\n(S'touch CANARY'\ntR."},
    {"extra_state": {"uses_mnet": True}},
    {"tensors": {"../../module": [1]}},
    {"tensors": {}},
    {"tensors": None},
    {"tensors_sha256": "0" * 64},
    {"tensors_sha256": None},
]


def forged_description(content: bytes, other: bytes, rng: random.Random, canary: Path) -> bytes:
    """A description that means harm, with the checksum that belongs to it."""
    header, tensors = split(content)
    description = described(header)
    for key, value in rng.choice(FORGERIES).items():
        merge = isinstance(value, dict) and value and isinstance(description[key], dict)
        description[key] = {**description[key], **value} if merge else value
    return joined(signed(header, json.loads(json.dumps(description).replace("CANARY", str(canary)))), tensors)


def missing_parts(content: bytes, other: bytes, rng: random.Random, canary: Path) -> bytes:
    """A signed description, or a header, that lacks something."""
    header, tensors = split(content)
    description = described(header)
    part = rng.choice([header, header["__metadata__"], description, description["fitted"], description["scaling"]])
    del part[rng.choice(list(part))]
    if part is not header and part is not header.get("__metadata__"):
        header = signed(header, description)
    return joined(header, tensors)


def pickle_in_disguise(content: bytes, other: bytes, rng: random.Random, canary: Path) -> bytes:
    buffer = io.BytesIO()
    kind = rng.randrange(7)
    if kind == 0:
        return pickle.dumps(Canary(canary), protocol=rng.randrange(6))
    if kind == 1:
        torch.save({"model": Canary(canary)}, buffer)
        return buffer.getvalue()
    if kind == 2:
        joblib.dump([Canary(canary)], buffer)
        return buffer.getvalue()
    if kind == 3:
        np.save(buffer, np.array([Canary(canary)], dtype=object), allow_pickle=True)
        return buffer.getvalue()
    bomb = pickle.dumps(Canary(canary))
    if kind == 4:  # a header's length, then a pickle
        return struct.pack("<Q", len(bomb)) + bomb
    header, tensors = split(content)
    if kind == 5:  # in place of the tensors
        return joined(header, (bomb + tensors)[: len(tensors)])
    return joined(signed(header, bomb.decode("latin-1")), tensors)


def path_tricks(content: bytes, other: bytes, rng: random.Random, canary: Path) -> bytes:
    """Tensors whose names are paths, described and signed as if they belonged there."""
    tensors = safetensors.torch.load(content)
    name = rng.choice(["../../{}", "/{}", "module.../../{}", "C:\\{}", "file://{}", "{}\0.txt", "module.{}/../x"])
    old = rng.choice(sorted(tensors))
    tensors[name.format(str(canary))] = tensors.pop(old)
    description = described(split(content)[0])
    description["tensors"] = {name: list(value.shape) for name, value in tensors.items()}
    return safetensors.torch.save(tensors, signed({}, description)["__metadata__"])


def strange_texts(content: bytes, other: bytes, rng: random.Random, canary: Path) -> bytes:
    """Headers that are long, deep, wide or no JSON."""
    header, tensors = split(content)
    n = rng.choice([1_000, 100_000, 2_000_000])
    lengths = [2**63, 2**64 - 1, 2**40, 2**31, len(content), 2**22 + 1]
    makers: list[Callable[[], bytes]] = [
        lambda: struct.pack("<Q", rng.choice(lengths)) + content[8:],
        lambda: joined("[" * n, b""),
        lambda: joined('{"a":' * n, b""),
        lambda: joined("[" + "[]," * n + "[]]", b""),
        lambda: joined('{"__metadata__":{"deepcluster_sk":"{}","sha256":"0"},"x":[' + "{}," * n + "{}]}", b""),
        lambda: joined("9" * n, b""),
        lambda: joined(signed(header, "[" * n), tensors),
        lambda: joined(signed(header, '{"format": ' + "9" * min(n, 100_000) + "}"), tensors),
        lambda: joined(rng.randbytes(200).decode("latin-1"), tensors),
    ]
    return rng.choice(makers)()


def strange_tensors(content: bytes, other: bytes, rng: random.Random, canary: Path) -> bytes:
    """Tensors of impossible shapes, places and types."""
    header, tensors = split(content)
    entry = header[rng.choice([key for key in header if key != "__metadata__"])]
    what, values = rng.choice(
        [
            ("shape", [[2**62, 2], [10**12], [-1], [0], ["a"], [1e9], 7]),
            ("data_offsets", [[0, 2**63], [-8, 0], [5, 1], [0, 0], [1], None]),
            ("dtype", ["F128", "object", "O", "", None, "F8_E5M2", "C64"]),
        ]
    )
    entry[what] = rng.choice(values)
    return joined(header, tensors)


def something_else(content: bytes, other: bytes, rng: random.Random, canary: Path) -> bytes:
    """Files of other kinds."""
    buffer = io.BytesIO()
    kind = rng.randrange(6)
    if kind == 0:
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("../../" + canary.name, "x")
        return buffer.getvalue()
    if kind == 1:
        np.savez(buffer, x=np.arange(9))
        return buffer.getvalue()
    if kind == 2:
        return f"#!/bin/sh\ntouch {canary}\n".encode()
    if kind == 3:
        return rng.randbytes(rng.randrange(5_000))
    if kind == 4:
        return safetensors.torch.save({"weight": torch.zeros(rng.randrange(1, 9))})
    return b""


ATTACKS: list[Attack] = [
    flipped_bits,
    truncated,
    extended,
    overwritten,
    spliced,
    swapped_descriptions,
    edited_description,
    forged_description,
    missing_parts,
    pickle_in_disguise,
    path_tricks,
    strange_texts,
    strange_tensors,
    something_else,
]


def saved_files(folder: Path) -> list[bytes]:
    """Whole files of each method, on images and on vectors."""
    digits, contents = load_digits(), []
    for method in (DACClustering, DCCMClustering, DCSSClustering):
        for X in (digits.images[:100], digits.data[:100]):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fitted = method(n_clusters=4, max_epochs=1, n_init=2, random_state=0).fit(X)
            fitted.save(folder / "whole")
            contents.append((folder / "whole").read_bytes())
    return contents


def load_all(folder: Path) -> None:
    """Load every file of the folder; what comes of each goes to standard output, a line a file, then the peak."""
    for path in sorted(folder.glob("*.model")):
        try:
            load(path)
            result = "LOADED"
        except ValueError as error:
            says_why = path.name in str(error) and len(str(error)) > len(str(path)) + 20
            result = "refused" if says_why else f"UNCLEAR {error}"
        except BaseException as error:
            result = f"{type(error).__name__.upper()} {error}"
        print(json.dumps({"file": path.name, "result": result[:500]}), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"peak_bytes": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        load_all(Path(options.child))
        return
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder, canary = Path(temporary), Path(temporary) / "canary"
        wholes = saved_files(folder)
        for i in range(options.files):
            content, other = rng.sample(wholes, 2)
            attack = ATTACKS[i % len(ATTACKS)]
            made = attack(content, other, rng, canary)
            while made in wholes:  # by chance nothing was changed
                made = attack(content, other, rng, canary)
            (folder / f"{attack.__name__}-{i:05d}.model").write_bytes(made)
        command = [sys.executable, __file__, "--child", temporary]
        ran = subprocess.run(command, cwd=temporary, capture_output=True, text=True, env=os.environ, check=False)
        *lines, last = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")] or [{}]
        executed = canary.exists()
    by_kind: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for line in lines:
        by_kind[line["file"].rsplit("-", 1)[0]]["refused" if line["result"] == "refused" else "NOT REFUSED"] += 1
        if line["result"] != "refused":
            print(line["file"], line["result"])
    refused = sum(counts["refused"] for counts in by_kind.values())
    peak = last.get("peak_bytes", 0)
    for kind, counts in by_kind.items():
        print(f"{kind:24s} {dict(counts)}")
    seen = "CREATED" if executed else "not created"
    print(f"{refused} of {options.files} refused; canary {seen}; peak {peak / 2**20:.0f} MiB")
    if ran.returncode:
        print(ran.stderr)
    summary = {"files": options.files, "refused": refused, "executed": executed, "peak_bytes": peak}
    write_record("hostile-files", seed=options.seed, summary=summary, by_kind=by_kind)
    sys.exit(refused != options.files or executed or not 0 < peak < 2**30)


if __name__ == "__main__":
    main()
