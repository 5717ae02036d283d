"""From content to a file: the page, its script and its data in one, escaped, and written whole or not at all."""

import base64
import hashlib
import html
import json
import os
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from sklearn.utils.validation import check_is_fitted

from deepcluster_sk._base import BaseDeepClustering
from deepcluster_sk._checkpoint import write_bytes
from deepcluster_sk._validation import check_choice, check_number
from deepcluster_sk.report._content import page_content

# The page, its style, and its script in the order in which it runs.
_PARTS = ("page.html", "page.css", "page.js", "map.js", "start.js")


def write_report(
    estimator: Any,
    X: Any,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    projection: str = "pca",
    max_samples: int = 10_000,
) -> None:
    """Write what a fitted estimator makes of samples into one HTML file, to be opened in a browser without network.

    The page has the diagnostics of the fit in plain words, a gallery of each cluster (its most confident, typical and
    least certain samples), the pairs of clusters that are most easily confused, a map of the embedding, and the course
    of training. Feature vectors have tables in place of galleries. It can be used by keyboard and with a screen reader,
    and printed.

    Parameters
    ----------
    estimator : DACClustering, DCCMClustering or DCSSClustering
        A fitted one.
    X : array-like, path-like, list of path-like, or torch Dataset
        As in the estimator's ``predict``; commonly the samples that it was fitted on. Never written to.
    path : path-like
        The file, in a folder that exists; one that is there is replaced, once the new one is whole.
    title : str or None, default=None
        Heading of the page, not empty; None names the method and the number of samples.
    projection : {"pca", "tsne"}, default="pca"
        How the map gets its two dimensions: principal components of the embedding, which keep large distances, or t-SNE
        of at most 2,000 samples, which keeps neighbours and takes some seconds.
    max_samples : int, default=10000
        Most samples on the map, at least 1. Of more, a random choice is shown, with those of the galleries where they
        have room. All other figures are of all samples.

    Raises
    ------
    TypeError
        If ``estimator``, ``path``, ``title`` or ``max_samples`` is of another type.
    ValueError
        If one of these has no valid value, ``projection`` neither, or X does not fit the estimator.
    NotFittedError
        If the estimator is not fitted.
    OSError
        If the file cannot be written; one that was there stays.

    See Also
    --------
    deepcluster_sk.display.ClusterGridDisplay : A picture of clusters by matplotlib.

    Notes
    -----
    The same estimator and samples give the same bytes, with the same versions. Names of files, and the title, are text
    on the page whatever they hold. Files are shown in more detail than the network sees them, where they have it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_digits
    >>> from deepcluster_sk import DACClustering
    >>> from deepcluster_sk.report import write_report
    >>> X = load_digits(n_class=3).images[:150]
    >>> dac = DACClustering(n_clusters=3, max_epochs=1, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(dac, X, Path(folder) / "digits.html", title="Three digits")
    ...     "<title>Three digits</title>" in (Path(folder) / "digits.html").read_text()
    True
    """
    if not isinstance(estimator, BaseDeepClustering):
        needed = "must be a fitted DACClustering, DCCMClustering or DCSSClustering"
        raise TypeError(f"estimator={type(estimator).__name__} {needed}.")
    check_is_fitted(estimator, "module_")
    target = _checked_path(path)
    if title is not None and not isinstance(title, str):
        raise TypeError(f"title={title!r} must be None or a string, got {type(title).__name__}.")
    if title is not None and not title.strip():
        raise ValueError(f"title={title!r} must be None or a string that is not blank.")
    check_choice("projection", projection, ("pca", "tsne"))
    check_number("max_samples", max_samples, int, 1)
    content = page_content(estimator, X, title=title, projection=projection, max_samples=int(max_samples))
    write_bytes(target, page(content))


def _checked_path(path: object) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path={path!r} must be the path of a file, got {type(path).__name__}.")
    target = Path(path)
    if target.is_dir() or not target.parent.is_dir():
        raise ValueError(f"path={os.fspath(path)!r} must be a file in a folder that exists.")
    return target


def page(content: dict[str, Any]) -> bytes:
    """The HTML file, in ASCII, so that no guess at its encoding can be wrong."""
    folder = files("deepcluster_sk.report")
    template, style, *scripts = (folder.joinpath(name).read_text("utf-8") for name in _PARTS)
    script = "\n".join(scripts)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    filled = Template(template).substitute(
        title=html.escape(content["title"]), style=style, script=script, script_hash=digest, data=_json(content)
    )
    return filled.encode("ascii", "xmlcharrefreplace")


def _json(content: dict[str, Any]) -> str:
    """JSON in ASCII that holds nothing by which HTML could end the element around it."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
