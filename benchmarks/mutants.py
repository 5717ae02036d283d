"""Whether the tests see faults in the equations: python benchmarks/mutants.py

mutmut puts one small fault after another into pairs.py, losses.py and metrics/, in a copy of the project, and runs the
tests of these modules until one fails; a fault that no test sees survives. Survivors that change nothing, or nothing
that can be tested, are told by the line that they make, with the reason, in ``HARMLESS``. Needs ``pip install mutmut``
and some twenty minutes; the record is benchmarks/results/mutants.json.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from _results import write_record

ROOT = Path(__file__).parents[1]
MUTATED = ("pairs.py", "losses.py", "metrics/*")
TESTS = [f"tests/test_{name}.py" for name in ("pairs", "losses", "metrics", "theorems", "cuda")]
CONFIGURATION = f"""
[tool.mutmut]
source_paths = ["deepcluster_sk"]
only_mutate = {[f"deepcluster_sk/{name}" for name in MUTATED]}
pytest_add_cli_args = ["-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = {TESTS}
process_isolation = "forkserver"
"""
# Parts of lines that survivors hold, and why no test fails.
HARMLESS = {
    'float("-INF")': "the same number",
    "ones_like(joint_means, ": "ones count like True",
    "ones_like(marginal_means, ": "likewise",
    "F.normalize(torch.cat([first, second]), )": "dim=1 is the default",
    "F.normalize(features, )": "likewise",
    ".exp(), )": "likewise",
    "(proba - target).isnan()": "of finite numbers, sums and differences alike are none",
    "on_center = (squared == 0).to(None)": "True counts as one",
    "if n_samples < _N_SAMPLES": "so many of so many are all",
    "default_rng(1)": "another seed of what is drawn, as good",
    "replace=None": "as false as False",
    "reshape(len(portion), -2)": "numpy takes any negative size for the one to be found",
    "astype(None) ** 2": "float64 is the default",
    ".astype(None)": "float64 in place of float32: twice the memory, the same neighbours",
    "random_state=1)": "another seed of the search for components, as good",
    "set_output(transform=None)": "as configured, which numpy takes as well",
    "return_distance=None": "as false as False",
    "return classes[:1]": "a name more, which no cluster points to",
    '"XXbiufXX"': "no kind of dtype is called X",
    "contingency_matrix(true, pred, )": "dense in place of sparse: more memory, the same counts",
    "sparse=False)": "likewise",
}


def in_copy(copy: Path, *arguments: str, quiet: bool = True) -> str:
    """Output of a mutmut command."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-m", "mutmut", *arguments]
    output = subprocess.PIPE if quiet else None
    return subprocess.run(command, cwd=copy, env=environment, stdout=output, text=True, check=True).stdout


def made_line(difference: str) -> str:
    """What a mutant's difference adds, on one line."""
    added = [line[1:].strip() for line in difference.splitlines() if re.match(r"\+(?!\+\+)", line)]
    return " ".join(added)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "copy"
        left_out = shutil.ignore_patterns(".git", "_build", "gallery", "generated", ".venv*", "__pycache__", ".*_cache")
        shutil.copytree(ROOT, copy, ignore=left_out)
        with (copy / "pyproject.toml").open("a") as file:
            file.write(CONFIGURATION)
        in_copy(copy, "run", "--max-children", str(options.processes), quiet=False)
        status = dict(re.findall(r"(\S+): (.+)", in_copy(copy, "results", "--all", "true")))
        survivors = [
            {"mutant": name, "status": status[name], "line": made_line(in_copy(copy, "show", name))}
            for name in sorted(status)
            if status[name] not in ("killed", "timeout")
        ]
    for survivor in survivors:
        reasons = (reason for part, reason in HARMLESS.items() if part in survivor["line"])
        survivor["why"] = next(reasons, "NOT EXPLAINED")
        print(f"{survivor['mutant']}: {survivor['line']}: {survivor['why']}", flush=True)
    made = Counter(name.split(".x")[0] for name in status)
    missed = Counter(survivor["mutant"].split(".x")[0] for survivor in survivors)
    modules = {name: {"mutants": made[name], "killed": made[name] - missed[name]} for name in sorted(made)}
    share = 1 - len(survivors) / len(status)
    print(f"{share:.1%} of {len(status)} mutants killed; {modules}")
    write_record("mutants", killed_share=share, modules=modules, survivors=survivors)
    sys.exit(share < 0.9 or any(survivor["why"] == "NOT EXPLAINED" for survivor in survivors))


if __name__ == "__main__":
    main()
