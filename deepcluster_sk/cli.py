"""The command ``deepcluster-sk``: a folder of images in, clusters, a model and a report out.

It is written with argparse, so that it works wherever the package does and starts without another library.
"""

import argparse
import contextlib
import csv
import io
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepcluster_sk._checkpoint import write_bytes
from deepcluster_sk._dac import DACClustering
from deepcluster_sk._dccm import DCCMClustering
from deepcluster_sk._dcss import DCSSClustering
from deepcluster_sk._images import image_paths
from deepcluster_sk._load import MODEL, load
from deepcluster_sk._version import __version__
from deepcluster_sk.exceptions import UnreadableImageWarning
from deepcluster_sk.report import write_report

_METHODS = {"dac": DACClustering, "dccm": DCCMClustering, "dcss": DCSSClustering}
# What --quick sets where nothing else is asked for.
_QUICK = {"max_epochs": 5, "image_size": 32}
# Names within the folder of results.
_LABELS, _REPORT = "labels.csv", "report.html"
_SORTED, _CHECKPOINTS = "clusters", ".unfinished"

_DESCRIPTION = """\
Cluster images without labels.

  deepcluster-sk cluster photos --n-clusters 10 --out result --quick    a first look
  deepcluster-sk cluster photos --n-clusters 10 --out result --sort link
  deepcluster-sk predict result more-photos > more.csv                  the clusters of other images
  deepcluster-sk report result more-photos --out more.html              and a report on them

"deepcluster-sk cluster --help" says what each option does."""

_PREDICT = """\
Print path, cluster and confidence (0 to 1) of the images in PHOTOS and the folders in it, as CSV."""

_REPORT_ON = "Write a report on images and the clusters that a model puts them into."

_CLUSTER = """\
Cluster the images in PHOTOS and the folders in it. RESULT then has

  labels.csv     path, cluster and confidence (0 to 1) of every image
  report.html    pictures of the clusters, and how far to trust them; for a browser
  model/         what "predict" and "report" load
  clusters/      the images in a folder for each cluster, with --sort

After Ctrl-C or a power cut the same command goes on where it was, by checkpoints that lie in
RESULT/.unfinished until then."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str or None, default=None
        What follows the command's name; None takes those of the process.

    Returns
    -------
    status : int
        0 if all went well, also where damaged files were skipped; 1 if not; 130 after Ctrl-C. Options that cannot be
        understood end the process with 2.

    Examples
    --------
    >>> from deepcluster_sk.cli import main
    >>> main(["predict", "nowhere", "photos"])
    1
    """
    options = _parser().parse_args(arguments)
    try:
        with _plain_warnings():
            options.run(options)
    except KeyboardInterrupt:
        _say("stopped" + ("; the same command goes on where it was" if options.run is _cluster else ""))
        return 130
    except BrokenPipeError:  # whoever read what was printed has seen enough; Python is not to complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, OSError, MemoryError, ImportError) as error:
        _say(f"error: {error}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    layout: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser("deepcluster-sk", description=_DESCRIPTION, **layout)
    parser.add_argument("--version", action="version", version=f"deepcluster-sk {__version__}")
    commands = parser.add_subparsers(required=True, metavar="{cluster,predict,report}")
    _add_cluster(commands.add_parser("cluster", help="cluster a folder of images", description=_CLUSTER, **layout))
    _add_predict(commands.add_parser("predict", help="clusters of other images", description=_PREDICT, **layout))
    _add_report(commands.add_parser("report", help="report on images and their clusters", description=_REPORT_ON))
    return parser


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("photos", metavar="PHOTOS", help="folder of images")
    add("--out", metavar="RESULT", required=True, help="folder for the result; made if need be")
    add(
        "-k",
        "--n-clusters",
        type=int,
        required=True,
        metavar="K",
        help="clusters; too many rather than too few",
    )
    add("--method", choices=_METHODS, default="dccm", help="default: dccm; dcss takes longest")
    add("--quick", action="store_true", help="few epochs on images of 32 pixels, for a first look")
    size = "side that images are resized to (default: their own, at most 64); time grows with its square"
    add("--image-size", type=int, metavar="PIXELS", help=size)
    add("--max-epochs", type=int, metavar="N", help="most epochs of each phase (default: by the number of images)")
    neighbors = "images near in pixels that are drawn together (default: 5, or 0 for photographs)"
    add("--n-neighbors", type=int, metavar="N", help=neighbors)
    add("--n-init", type=int, default=1, metavar="N", help="networks to train; the best is kept (default: 1)")
    add("--seed", type=int, default=0, metavar="N", help="the same one gives the same clusters (default: 0)")
    add("--device", default="auto", help="such as cpu or cuda:0 (default: a GPU if there is one)")
    add("--sort", choices=("copy", "link"), help="put the images, or links to them, into RESULT/clusters")
    add("--overwrite", action="store_true", help="replace a result that is there")
    add("-q", "--quiet", action="store_true", help="show no progress")
    _add_on_error(parser)
    parser.set_defaults(run=_cluster)


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help='RESULT of "cluster", or a file that save() wrote')
    parser.add_argument("photos", metavar="PHOTOS", help="folder of images")
    parser.add_argument("--out", metavar="CSV", help="file to write to (default: print)")
    _add_on_error(parser)
    parser.set_defaults(run=_predict)


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help='RESULT of "cluster", or a file that save() wrote')
    parser.add_argument("photos", metavar="PHOTOS", nargs="?", help="folder of images (default: those of training)")
    parser.add_argument("--out", metavar="HTML", help="file to write to (default: report.html in RESULT)")
    _add_on_error(parser)
    parser.set_defaults(run=_report)


def _add_on_error(parser: argparse.ArgumentParser) -> None:
    unreadable = "leave out files that cannot be read and name them, or stop (default: skip)"
    parser.add_argument("--on-error", choices=("skip", "raise"), default="skip", help=unreadable)


def _cluster(options: argparse.Namespace) -> None:
    result = Path(options.out)
    is_there = (result / _LABELS).exists()
    if is_there and not options.overwrite:
        raise ValueError(f"--out={result} has a result already; --overwrite trains anew and replaces it.")
    # An earlier run may have been interrupted while it sorted: then its checkpoints are there still.
    if (result / _SORTED).exists() and not is_there and not (result / _CHECKPOINTS).exists():
        raise ValueError(f"--out={result} has a folder {_SORTED!r} that this command did not make; give another one.")
    paths = _images(options.photos, without=result / _SORTED)  # of an earlier result, which may lie among the photos
    quick = _QUICK if options.quick else {}
    estimator = _METHODS[options.method](
        options.n_clusters,
        image_size=quick.get("image_size") if options.image_size is None else options.image_size,
        max_epochs=quick.get("max_epochs") if options.max_epochs is None else options.max_epochs,
        n_init=options.n_init,
        n_neighbors="auto" if options.n_neighbors is None else options.n_neighbors,
        random_state=options.seed,
        device=options.device,
        checkpoint_dir=result / _CHECKPOINTS,
        on_error=options.on_error,
        verbose=0 if options.quiet else 1,
    )
    with contextlib.redirect_stdout(sys.stderr):
        estimator.fit(paths)
    estimator.set_params(verbose=0, checkpoint_dir=None)
    _write_result(estimator, options, result)
    shutil.rmtree(result / _CHECKPOINTS)
    n_used = estimator.fit_report_["n_clusters_used"]
    _say(f"{len(estimator.paths_)} images in {n_used} clusters; open {result / _REPORT} in a browser")


def _images(photos: str, without: Path | None = None) -> list[str]:
    """Paths of the images in a folder, but for those in another."""
    if not os.path.isdir(photos):
        raise ValueError(f"PHOTOS={photos} must be a folder that exists.")
    paths = image_paths(photos)
    if without is not None:
        # Where a file lies, not where a link points to: what was sorted may be links to the photos.
        folders = {folder: Path(folder).resolve() for folder in map(os.path.dirname, paths)}
        is_left_out = {name: without.resolve() in (folder, *folder.parents) for name, folder in folders.items()}
        paths = [path for path in paths if not is_left_out[os.path.dirname(path)]]
    if not paths:
        raise ValueError(f"PHOTOS={photos} must have image files in it, and has none.")
    return paths


def _write_result(estimator: Any, options: argparse.Namespace, result: Path) -> None:
    """All that ``cluster`` leaves, and nothing of what was there; labels.csv is last, the sign that it is complete."""
    (result / _LABELS).unlink(missing_ok=True)
    shutil.rmtree(result / _SORTED, ignore_errors=True)
    (result / MODEL).parent.mkdir(exist_ok=True)
    estimator.save(result / MODEL)
    proba = estimator.predict_proba(estimator.paths_)
    write_report(estimator, estimator.paths_, result / _REPORT, title=Path(options.photos).resolve().name)
    if options.sort is not None:
        _sort(estimator.paths_, proba.argmax(axis=1), Path(options.photos), result / _SORTED, options.sort)
    write_bytes(result / _LABELS, _table(estimator, estimator.paths_, proba))


def _predict(options: argparse.Namespace) -> None:
    estimator = _loaded(options)
    paths = _images(options.photos, without=Path(options.model) / _SORTED)
    table = _table(estimator, paths, estimator.predict_proba(paths))
    if options.out is None:
        print(table.decode("utf-8", "replace"), end="", flush=True)
    else:
        write_bytes(Path(options.out), table)


def _report(options: argparse.Namespace) -> None:
    estimator = _loaded(options)
    photos = options.photos or getattr(estimator, "paths_", None)
    if photos is None:
        raise ValueError(f"PHOTOS must be given: MODEL={options.model} was not trained on files.")
    if options.photos is None and not any(map(os.path.exists, photos)):
        raise ValueError(f"PHOTOS must be given: {photos[0]!r} and the others are not where they were, seen from here.")
    if options.out is None and not (Path(options.model) / MODEL).exists():
        raise ValueError(f'--out must be given: MODEL={options.model} is no folder that "cluster" made.')
    out = options.out or Path(options.model) / _REPORT
    write_report(estimator, photos, out)
    _say(f"open {out} in a browser")


def _loaded(options: argparse.Namespace) -> Any:
    try:
        estimator = load(options.model)
    except FileNotFoundError as error:
        needed = 'must be a folder that "cluster" made, or a file that save() wrote'
        raise ValueError(f"MODEL={options.model} {needed}.") from error
    return estimator.set_params(on_error=options.on_error, verbose=0)


def _table(estimator: Any, paths: Sequence[str], proba: NDArray[np.float32]) -> bytes:
    """Path, cluster and confidence of each file that could be read, and name if clusters have some, as CSV in UTF-8."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    names, has_names = estimator.cluster_names_, any(estimator._given_names())
    writer.writerow(["path", "cluster", "confidence", *["name"] * has_names])
    for path, row in zip(paths, proba, strict=True):
        if not np.isnan(row).any():
            cluster = row.argmax()
            writer.writerow([path, cluster, f"{row.max():.4f}", *[names[cluster]] * has_names])
    return text.getvalue().encode("utf-8", "surrogateescape")


def _sort(paths: Sequence[str], labels: NDArray[np.intp], photos: Path, folder: Path, how: str) -> None:
    """Copies of files, or links to them, in a folder for each cluster, by the names they have below ``photos``."""
    n_digits = len(str(labels.max()))
    for path, label in zip(paths, labels, strict=True):
        target = folder / f"{label:0{n_digits}}" / Path(path).relative_to(photos)
        target.parent.mkdir(parents=True, exist_ok=True)
        if how == "copy":
            shutil.copy2(path, target)
        else:
            target.symlink_to(Path(path).resolve())


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings as lines on stderr, and name every file that is left out."""

    def show(message: Warning | str, *others: Any, **more: Any) -> None:
        for path, reason in getattr(message, "unreadable", {}).items():
            _say(f"skipped {path!r}: {reason}")
        if not isinstance(message, UnreadableImageWarning):
            _say(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield


def _say(text: str) -> None:
    print(f"deepcluster-sk: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
