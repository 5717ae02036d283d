"""Write the figures in benchmarks/results/ into README.md and docs/results.rst: python benchmarks/tables.py"""

import json
import re
from pathlib import Path

from _results import RESULTS

ROOT = RESULTS.parent.parent
TABLES = {
    "digits": "scikit-learn's 1,797 digits, default settings, seeds 0 to 9",
    "digits-paper-dac": "digits enlarged to 28x28, the DAC paper's settings, at most ten minutes a fit",
    "digits-paper-dccm": "digits enlarged to 32x32, the DCCM paper's settings, at most ten minutes a fit",
    "digits-paper-dcss": "digits enlarged to 28x28, the DCSS paper's settings, at most ten minutes a fit",
    "mnist": "the first 10,000 MNIST images, default settings, seed 0",
}
COLUMNS = ["", "ACC mean", "± std", "ACC worst", "NMI", "ARI", "longest fit"]


def load(name: str) -> dict | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def row(summary: dict) -> list[str]:
    keys = ("acc_mean", "acc_std", "acc_worst", "nmi_mean", "ari_mean")
    return [summary["method"], *(f"{summary[key]:.3f}" for key in keys), f"{summary['seconds_max']:.0f} s"]


def epochs(record: dict) -> list[str]:
    """A line a fit with the epochs it reached, where the fits were ended early."""
    return [
        f"- seed {cell['seed']}: ACC {cell['acc']:.3f}, {cell['seconds']:.0f} s, {cell['clusters_used']} clusters; "
        + ", ".join(f"{phase} {n}" for phase, n in cell["epochs"].items())
        for cell in record["cells"]
    ]


def rst(name: str, title: str) -> str:
    record = load(name)
    if record is None:
        return ""
    lines = [title[0].upper() + title[1:], "-" * len(title), "", ".. list-table::", "   :header-rows: 1", ""]
    for cells in (COLUMNS, *map(row, record["summary"])):
        lines += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(cells)]
    if "paper" in name:
        lines += ["", "Epochs reached, by phase:", "", *epochs(record)]
    versions = ", ".join(f"{package} {version}" for package, version in record["versions"].items())
    lines += ["", f"{versions}; {record['hardware']['torch_threads']} torch threads.", ""]
    return "\n".join(lines)


def markdown(record: dict) -> str:
    rows = [COLUMNS, ["---"] * len(COLUMNS), *map(row, record["summary"])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def main() -> None:
    head = "Results\n=======\n\nWritten by ``benchmarks/tables.py`` from the records in ``benchmarks/results``.\n\n"
    (ROOT / "docs" / "results.rst").write_text(head + "\n".join(filter(None, (rst(*item) for item in TABLES.items()))))
    readme = Path(ROOT / "README.md")
    parts = []
    for name in ("digits", "mnist"):
        if (record := load(name)) is not None:
            parts += [f"{TABLES[name][0].upper()}{TABLES[name][1:]}:", "", markdown(record), ""]
    text = "<!-- results -->\n" + "\n".join(parts) + "<!-- end of results -->"
    readme.write_text(
        re.sub(r"<!-- results -->.*<!-- end of results -->", lambda _: text, readme.read_text(), flags=re.S)
    )


if __name__ == "__main__":
    main()
