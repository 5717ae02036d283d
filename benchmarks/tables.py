"""Write the figures in benchmarks/results/ into README.md and the pages of docs: python benchmarks/tables.py"""

import argparse
import json
import re

import _fault_page
import _framework_page
import _paper_claims
import _paper_page
import plan
from _datasets import DATA_SETS, LARGE
from _results import RESULTS

ROOT = RESULTS.parent.parent
TABLES = {
    "The 1,797 digits: default settings, seeds 0 to 9; the papers' settings, seeds 0 to 2, ten minutes a fit": [
        "digits",
        "digits-paper-dac",
        "digits-paper-dccm",
        "digits-paper-dcss",
    ],
    "The first 10,000 MNIST images, seed 0: default settings beside k-means and ClustPy's defaults": ["rivals-mnist"],
    "All 70,000 MNIST images: DACClustering() by default settings, seeds 0 to 2": ["mnist-70k"],
}
IN_DOCS_ALONE = {
    "The digits, seed 0: default settings beside k-means and ClustPy's defaults": ["rivals-digits"],
    "Frozen features (EfficientNet-Lite0, 192 pixels) of the 10,000 test images of CIFAR-10, seeds 0 to 4: default "
    "settings; the last two rows are the fit of each seed that is best by a criterion without labels, and their "
    "seconds those of all three fits": ["embeddings"],
}
PICTURES = {
    "mnist-70k": (
        "images/mnist-curve.png",
        "Accuracy after each epoch of warm-up, label start and DAC, against seconds.",
    )
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


def heading(title: str) -> list[str]:
    return [title, "-" * len(title), ""]


def list_table(cells: list[list[str]]) -> list[str]:
    """The first row is the header."""
    lines = [f"   {'* -' if i == 0 else '  -'} {cell}" for row in cells for i, cell in enumerate(row)]
    return [".. list-table::", "   :header-rows: 1", "", *lines, ""]


def conditions(name: str, record: dict) -> list[str]:
    """Versions and threads, once for all parts of a record that were made under the same."""
    lines = []
    for made_under in record.get("conditions", {"": record}).values():
        versions = ", ".join(f"{package} {version}" for package, version in made_under["versions"].items())
        lines.append(f"*{name}*: {versions}; {made_under['hardware']['torch_threads']} torch threads.")
    return [line for unique in dict.fromkeys(lines) for line in (unique, "")]


def rst(title: str, names: list[str]) -> str:
    records = load(names)
    if not records:
        return ""
    lines = heading(title) + list_table(rows(records))
    if each := fits(records):
        lines += ["Every fit, with the epochs that each phase reached:", "", *each, ""]
    for record, name in zip(records, names, strict=False):
        if name in PICTURES:
            path, text = PICTURES[name]
            lines += [
                f".. figure:: {path}",
                f"   :alt: {text}",
                "",
                f"   {text} Labels were used for drawing alone.",
                "",
            ]
        lines += conditions(name, record)
    return "\n".join(lines)


def overheads(record: dict) -> list[list[str]]:
    return [
        ["method, images", "step / bare network", "labelling / bare", "augmentation / bare", "bare network"],
        *(
            [
                row["method"],
                *(f"{row[key]:.3f}" for key in ("overhead", "labelling", "augmentation")),
                f"{1000 * row['bare_seconds']:.0f} ms",
            ]
            for row in record["overhead"]
        ),
    ]


def speedups(record: dict) -> list[list[str]]:
    return [
        ["method", "times as fast as plain", "without one of our changes"],
        *(
            [
                row["method"],
                f"{row['times_faster']:.2f}",
                "; ".join(f"{change}: {ratio:.2f}" for change, ratio in row["without"].items()),
            ]
            for row in record["against_plain"]
        ),
    ]


def shares(record: dict) -> list[list[str]]:
    return [
        ["method", "share of each stage in the time of a step"],
        *(
            [row["method"], ", ".join(f"{stage} {share:.0%}" for stage, share in row["shares"].items())]
            for row in record["stages"]
        ),
    ]


def quality(record: dict) -> list[str]:
    header = ["what against what, seed by seed", "seeds", "mean difference of ACC", "its standard error"]
    body = [
        [
            row["name"],
            str(len(row["differences"])),
            f"{row['mean_difference']:+.4f}",
            f"{row['standard_error']:.4f}",
        ]
        for row in (part["paired"] for part in record.values() if "paired" in part)
    ]
    lines = list_table([header, *body]) if body else []
    if variance := record.get("variance"):
        shares = variance["share_of_batch_variance"].items()
        lines += [
            "Variance of the gradient of the mutual information over random positions, in units of its variance over "
            f"batches of {variance['batch_size']} images; the map has {variance['n_all']} positions:",
            "",
            *list_table([["positions", "variance"], *([n, f"{share:.3f}"] for n, share in shares)]),
        ]
    return lines


def throughput(methods: dict) -> list[list[str]]:
    return [
        ["method", "images a second, predict", "bare forward pass", "ratio"],
        *(
            [name, *(f"{row['images_per_second'][key]:,.0f}" for key in ("predict", "bare")), f"{row['ratio']:.2f}"]
            for name, row in methods.items()
        ),
    ]


def memory(methods: dict) -> list[list[str]]:
    header = ["method", "task", "MiB beyond the data, by n", "bytes a sample", "exponent of the peak with the data"]
    return [header] + [
        [
            name,
            task,
            ", ".join(f"{int(n):,}: {size / 2**20:.1f}" for n, size in row[task]["bytes_beyond_data"].items()),
            f"{row[task]['bytes_per_sample_beyond_data']:.0f}",
            f"{row[task]['exponent']:.2f}",
        ]
        for name, row in methods.items()
        for task in ("fit", "predict")
    ]


def times(methods: dict) -> list[list[str]]:
    series = {
        "n": "n",
        "n, no neighbours": "n_without_neighbors",
        "K": "n_clusters",
        "side of the image": "side",
    }
    return [["method", "against", "seconds", "exponent"]] + [
        [
            name,
            label,
            ", ".join(f"{value}: {seconds:.1f}" for value, seconds in row[key]["median_seconds"].items()),
            f"{row[key]['exponent']:.2f}",
        ]
        for name, row in methods.items()
        for label, key in series.items()
    ]


SPEED = """Speed
=====

Written by ``benchmarks/tables.py`` from the records in ``benchmarks/results``. Ratios are of medians of jobs that took
turns in one run; differences of less than a tenth are noise.

The *bare network* is forward, backward and optimiser step of the same network on the same batches in the same
precision, with nothing of the method. Of a forward pass for prediction, the faster of two sizes of batch counts. The
*plain transcription* of each paper is ``benchmarks/_plain.py``: float32, torch's own memory layout, the discriminator
on concatenated maps at all positions, a block labelled in one forward pass, matrix products for pairs. *Folding* is
batch norm within the convolution where nothing is learnt, and ReLU in place; *factorising* is the discriminator's
shallow projection once an image, and upsampling within the convolution. Memory was measured with two clusters.
"""


def speed() -> str:
    lines = [SPEED]
    for name, precision in (("steps", "bfloat16"), ("steps-float32", "float32")):
        for record in load([name]):
            lines += heading(f"A training step in {precision}")
            for part, table in {"overhead": overheads, "against_plain": speedups, "stages": shares}.items():
                lines += list_table(table(record)) if part in record else []
            lines += conditions(name, record)
    for record in load(["quality"]):
        lines += heading("What precision and random positions cost in quality") + quality(record)
        lines += conditions("quality", record)
    growth = {
        "throughput": ("Prediction", throughput),
        "memory": ("Memory against the number of samples n", memory),
        "time": ("Seconds of a fit with one epoch a phase", times),
    }
    for record in load(["scaling"]):
        for part, (title, table) in growth.items():
            if part in record:
                lines += heading(title) + list_table(table(record[part]))
        lines += conditions("scaling", record)
    return "\n".join(lines)


def plan_page() -> str:
    (rates,) = load(["plan"])
    lines = [plan.head(), *list_table(plan.arithmetic(rates["rates"])), *plan.breaks(rates["rates"])]
    lines += conditions("plan", rates)
    for record in load(["ranks"]):
        for part, (title, text, table) in plan.MEASURED.items():
            if part in record:
                lines += [*heading(title), text, "", *list_table(table(record[part]))]
        lines += conditions("ranks", record)
    return "\n".join(lines)


def faults() -> str:
    lines = [_fault_page.HEAD]
    for name, (title, table) in _fault_page.TABLES.items():
        for record in load([name]):
            lines += heading(title) + list_table(table(record)) + conditions(name, record)
    return "\n".join(lines)


def markdown(title: str, lines: list[list[str]]) -> str:
    header, *body = lines
    if not body:
        return ""
    table = [header, ["---"] * len(header), *body]
    return "\n".join([f"{title}:", "", *("| " + " | ".join(cells) + " |" for cells in table), ""])


def paper_sections() -> list[str]:
    """The tables of ``paper_tables.py``, each with its command."""
    found = []
    for title, note, tables, pictures, lines, command in _paper_page.sections():
        text = [*heading(title), f"``{command}``", "", *([note, ""] if note else [])]
        for table in tables:
            text += list_table(table)
        for path in pictures:
            text += [f".. image:: {path}", f"   :alt: {title}", ""]
        found.append("\n".join(text + ([*lines, ""] if lines else [])))
    return found


def framework() -> list[str]:
    """Other methods alone and with MNet."""
    found = _framework_page.section()
    if found is None:
        return []
    title, command, note, tables = found
    text = [*heading(title), f"``{command}``", "", note, ""]
    return ["\n".join([*text, *(line for table in tables for line in list_table(table))])]


def claims() -> list[str]:
    """The orderings of the papers."""
    lines = _paper_claims.claims()
    if len(lines) == 1:
        return []
    text = heading("What the papers claim, and what was seen")
    text += [
        "Confirmed: the first was better than the second from every seed, by however little. Refuted: worse from every "
        "seed. Neither: from some. Fits that were ended before the phase that tells a row from others are left out, "
        "and such as came to less than half as many epochs of it as the other; of those ended within it the epochs "
        "stand below their table, and what was seen is of these epochs alone.",
        "",
    ]
    return ["\n".join(text + list_table(lines))]


def not_run() -> list[str]:
    """What needs a GPU, and its commands."""
    text = heading("What could not be run on two cores")
    text += [
        "These need a GPU; the commands are ready. ``python benchmarks/paper_tables.py --smoke`` takes random images "
        "in the files that each one comes in through its loader and one step of every method:",
        "",
    ]
    text += list_table(
        [["data", "images", "classes", "command"]]
        + [
            [
                name,
                "x".join(map(str, DATA_SETS[name].shape)),
                str(DATA_SETS[name].n_classes),
                f"``{_paper_page.COMMAND.format(name)}``",
            ]
            for name in LARGE
        ]
    )
    return ["\n".join(text)]


RESULTS_HEAD = """Results
=======

Written by ``benchmarks/tables.py`` from the records in ``benchmarks/results``. No fit saw a label. The defaults were
chosen by accuracy, though, on the digits, on the first 10,000 images of MNIST and of Fashion-MNIST and on parts of
them, and the light that DCSS changes by the NMI on all of Fashion-MNIST: there they may do a little better than on data
that nobody looked at. Many fits shared the machine with others, so seconds are upper bounds. A row keeps its figures
until it is run again; its file names the version it was run with. Most are of before first clusters were the best
separated of fifty runs of k-means, and of before DCSS changed the light of gray images. Run since: MNIST at 16x16
pixels and thinned to unequal classes, the parameters of DCSS but its centering weight, numbers of classes and of
clusters and how to choose them, the network of DAC's paper, the papers' settings, departures with another light and on
unequal classes, and of Fashion-MNIST, all 70,000, DAC, DCSS and DCSSu. That DCSS was held up by other programs: 24
minutes of its one thread are its own; and so were DAC*, DAC and AE + k-means by the papers' settings on MNIST, its
first 10,000, by a third of their 20 minutes.

"""


def results() -> str:
    tables = {**TABLES, **IN_DOCS_ALONE}.items()
    sections = [
        *filter(None, (rst(*table) for table in tables)),
        *paper_sections(),
        *framework(),
        *claims(),
        *not_run(),
    ]
    return RESULTS_HEAD + "\n".join(sections)


def readme() -> str:
    """README with its tables of results replaced."""
    tables = {title: rows(load(names)) for title, names in TABLES.items()}
    tables["Whole data sets, default settings: mean ACC/NMI in %, and in brackets what the papers report"] = (
        _paper_page.overview()
    )
    tables_text = "\n".join(filter(None, (markdown(*table) for table in tables.items())))
    between_marks = re.compile("<!-- results -->.*<!-- end of results -->", flags=re.DOTALL)
    text = f"<!-- results -->\n{tables_text}<!-- end of results -->"
    return between_marks.sub(lambda _: text, (ROOT / "README.md").read_text())


PAGES = {
    "README.md": readme,
    **{f"docs/{name}.rst": page for name, page in (("results", results), ("speed", speed), ("faults", faults))},
    "docs/plan.rst": plan_page,
}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for path, page in PAGES.items():
        (ROOT / path).write_text(page())


if __name__ == "__main__":
    main()
