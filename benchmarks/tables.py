"""Write the figures in benchmarks/results/ into README.md and docs/results.rst: python benchmarks/tables.py"""

import json
import re

from _results import RESULTS

ROOT = RESULTS.parent.parent
TABLES = {
    "The 1,797 digits: default settings, seeds 0 to 9; the papers' settings, seeds 0 to 2, ten minutes a fit": [
        "digits",
        "digits-paper-dac",
        "digits-paper-dccm",
        "digits-paper-dcss",
    ],
    "The first 10,000 MNIST images: default settings, seed 0": ["mnist"],
}
COLUMNS = ["", "ACC mean", "± std", "ACC worst", "NMI", "ARI", "longest fit"]


def load(names: list[str]) -> list[dict]:
    """The records that exist."""
    paths = [RESULTS / f"{name}.json" for name in names]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def rows(records: list[dict]) -> list[list[str]]:
    keys = ("acc_mean", "acc_std", "acc_worst", "nmi_mean", "ari_mean")
    return [COLUMNS] + [
        [summary["method"], *(f"{summary[key]:.3f}" for key in keys), f"{summary['seconds_max']:.0f} s"]
        for record in records
        for summary in record["summary"]
    ]


def fits(records: list[dict]) -> list[str]:
    """A line a fit, with the epochs that each phase reached."""
    return [
        f"- {cell['method']}, seed {cell['seed']}: ACC {cell['acc']:.3f}, NMI {cell['nmi']:.3f}, "
        f"ARI {cell['ari']:.3f}, {cell['seconds']:.0f} s; "
        + ", ".join(f"{phase} {n}" for phase, n in cell["epochs"].items())
        for record in records
        for cell in record["cells"]
        if "epochs" in cell
    ]


def rst(title: str, names: list[str]) -> str:
    records = load(names)
    lines = [title, "-" * len(title), "", ".. list-table::", "   :header-rows: 1", ""]
    for cells in rows(records):
        lines += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(cells)]
    lines += ["", "Every fit, with the epochs that each phase reached:", "", *fits(records), ""]
    for record, name in zip(records, names, strict=False):
        versions = ", ".join(f"{package} {version}" for package, version in record["versions"].items())
        lines += [f"*{name}*: {versions}; {record['hardware']['torch_threads']} torch threads.", ""]
    return "\n".join(lines)


def markdown(title: str, names: list[str]) -> str:
    header, *body = rows(load(names))
    table = [header, ["---"] * len(header), *body]
    return "\n".join([f"{title}:", "", *("| " + " | ".join(cells) + " |" for cells in table), ""])


def main() -> None:
    head = "Results\n=======\n\nWritten by ``benchmarks/tables.py`` from the records in ``benchmarks/results``.\n\n"
    (ROOT / "docs" / "results.rst").write_text(head + "\n".join(rst(*table) for table in TABLES.items()))
    readme = ROOT / "README.md"
    tables = "\n".join(markdown(*table) for table in TABLES.items())
    between_marks = re.compile("<!-- results -->.*<!-- end of results -->", flags=re.DOTALL)
    text = f"<!-- results -->\n{tables}<!-- end of results -->"
    readme.write_text(between_marks.sub(lambda _: text, readme.read_text()))


if __name__ == "__main__":
    main()
