"""The page of docs about faults: what becomes a table, of which record."""

HEAD = """Faults
======

Written by ``benchmarks/tables.py`` from the records in ``benchmarks/results``: what became of fits that were killed, of
files that were damaged, what checkpoints cost, and which faults of our own the tests would see.
"""


def killed_fits(record: dict) -> list[list[str]]:
    """A row a kill, with where the next process went on."""
    return [["fit", "kill", "went on from", "epochs trained, of one run's", "bit-equal at the end"]] + [
        [
            f"{run['method']}, seed {run['seed']}",
            f"{i + 1}{', in a write' if kill['in_write'] else ''}",
            kill["resumed_from"],
            f"{run['epochs_begun'] / run['epochs_undisturbed']:.2f}",
            "yes" if run["equal"] else "NO",
        ]
        for run in record["runs"]
        for i, kill in enumerate(run["kills"])
    ]


def killed_searches(record: dict) -> list[list[str]]:
    summary = record["summary"]
    return [
        ["kills", "same scores", "candidates and folds", "trained once finished", "epochs, of one run's"],
        [
            str(summary["kills"]),
            "yes" if summary["same_scores"] else "NO",
            str(summary["candidates"]),
            str(summary["trained_after_they_were_finished"]),
            f"{summary['epochs_over_undisturbed']:.2f}",
        ],
    ]


def hostile_files(record: dict) -> list[list[str]]:
    rows = [
        [kind.replace("_", " "), str(counts.get("refused", 0)), str(counts.get("NOT REFUSED", 0))]
        for kind, counts in record["by_kind"].items()
    ]
    summary = record["summary"]
    peak = f"all; highest memory {summary['peak_bytes'] / 2**20:.0f} MiB"
    total = [peak, str(summary["refused"]), str(summary["files"] - summary["refused"])]
    return [["kind", "refused", "not refused"], *rows, total]


def checkpoint_cost(record: dict) -> list[list[str]]:
    return [["method", "images", "seconds of the fit", "checkpoints", "share of the seconds"]] + [
        [
            method,
            str(row["n_samples"]),
            f"{row['seconds']:.0f}",
            str(row["checkpoints"]),
            f"{row['share']:.2%}",
        ]
        for method, row in record["methods"].items()
    ]


def mutants(record: dict) -> list[list[str]]:
    """A row a module, then one a fault that no test saw."""
    rows = [
        [module.removeprefix("deepcluster_sk."), str(counts["mutants"]), f"{counts['killed'] / counts['mutants']:.1%}"]
        for module, counts in record["modules"].items()
    ]
    survivors = [[f"``{each['line']}``", "1", f"none: {each['why']}"] for each in record["survivors"]]
    return [["module, then what survived", "mutants", "killed"], *rows, *survivors]


TABLES = {
    "faults": ("Fits killed at random moments and run again", killed_fits),
    "search-faults": ("A grid search on two processes, killed and run again", killed_searches),
    "hostile-files": ("Damaged and hostile files of saved estimators", hostile_files),
    "mutants": ("Small faults put into the equations, and whether a test saw them", mutants),
    "checkpoint-cost": ("What checkpoints cost at the default interval", checkpoint_cost),
}
