"""What the displays share: matplotlib once it is needed, colours, and what they ask of estimators and predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from deepcluster_sk._input import is_array, last_step, read_input
from deepcluster_sk._lazy import LazyArray
from deepcluster_sk._validation import check_samples
from deepcluster_sk.callbacks import Stage, StageRecorder

# Ten colours that any kind of colour vision tells apart: Petroff, "Accessible Color Sequences for Data Visualization",
# 2021. Clusters beyond the tenth have another marker.
COLORS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
_MARKERS = "os^DvPX*"


def pyplot() -> Any:
    """Import matplotlib's pyplot.

    Raises
    ------
    ImportError
        If matplotlib is not installed; the message says how to get it.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("Drawing needs matplotlib: pip install 'deepcluster_sk[plot]'.") from error
    return plt


def own_axes(ax: Any, **figure: Any) -> Any:
    """The axes given, or those of a new figure."""
    plt = pyplot()
    return plt.subplots(**{"layout": "constrained", **figure})[1] if ax is None else ax


def own_panels(ax: Any, n_panels: int, shape: tuple[int, int], **figure: Any) -> NDArray[Any]:
    """The axes given, (n_panels,), or those of a new figure of so many rows and columns.

    Raises
    ------
    ValueError
        If another number of axes is given.
    """
    plt = pyplot()
    if ax is None:
        ax = plt.subplots(*shape, squeeze=False, **{"layout": "constrained", **figure})[1]
        for unused in ax.flat[n_panels:]:
            unused.remove()
        return ax.flatten()[:n_panels]
    panels = np.ravel(np.asarray(ax, dtype=object))
    if len(panels) != n_panels:
        raise ValueError(f"ax holds {len(panels)} axes, and must hold {n_panels}, one a panel.")
    return panels


def use_whole_numbers(axis: Any) -> None:
    """Ticks at whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def name_ticks(ax: Any, names: Sequence[str]) -> None:
    """A name at each whole number of the horizontal axis, slanted where names are long."""
    is_long = max(map(len, names)) > 3
    slant: Any = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if is_long else {}
    ax.set_xticks(range(len(names)), names, **slant)


def history_of(estimator: Any) -> list[dict[str, Any]]:
    """Records of all epochs of a fitted estimator.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If it keeps no history.
    """
    step = last_step(estimator)
    check_is_fitted(step)
    if not hasattr(step, "history_"):
        raise TypeError(f"estimator of type {type(step).__name__} must have the attribute history_, and has not.")
    return step.history_


def method_of(estimator: Any, name: str) -> Any:
    """A method of an estimator; a TypeError says that it has none."""
    if not hasattr(estimator, name):
        raise TypeError(f"estimator of type {type(estimator).__name__} must have {name}, and has not.")
    return getattr(estimator, name)


def proba_of(estimator: Any, X: Any) -> NDArray[np.float64]:
    """Cluster probabilities of an estimator; of files that cannot be read, NaN."""
    return np.asarray(method_of(estimator, "predict_proba")(X), dtype=np.float64)


def readable(proba: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows are not those of files that cannot be read."""
    return ~np.isnan(proba).any(axis=1)


def images_of(estimator: Any, X: Any, image_shape: tuple[int, ...] | None) -> NDArray[Any] | LazyArray:
    """Images as the estimator sees them, (n, h, w, c), without files that cannot be read.

    X has been predicted by the estimator, so it is not held against the samples of ``fit`` once more.

    Raises
    ------
    TypeError
        If X is files or a Dataset, and the estimator takes none.
    ValueError
        If X does not fit the estimator, or holds no images.
    """
    step = last_step(estimator)
    if is_array(X) and getattr(step, "image_size", None) is None:
        shape = getattr(step, "image_shape", None) if image_shape is None else image_shape
        samples = check_samples(estimator, X, shape, reset=False)
    elif hasattr(step, "_read"):
        samples = read_input(step, X, step._sample_shape).rows
    else:
        raise TypeError(f"X of type {type(X).__name__} must be an array, for {type(step).__name__} reads no files.")
    if len(samples) == 0:
        raise ValueError("X must have an image that can be read, and has none.")
    if samples.ndim != 4:
        raise ValueError(f"X of shape {np.shape(X)} holds feature vectors, not images; set image_shape.")
    return _channels_last(samples) if isinstance(samples, LazyArray) else samples.transpose(0, 2, 3, 1)


def _channels_last(rows: LazyArray) -> LazyArray:
    n_rows, n_channels, height, width = rows.shape
    shape = height, width, n_channels
    return LazyArray(lambda i: rows.make_row(i).transpose(1, 2, 0), n_rows, shape, rows.dtype, rows.n_threads)


def as_pictures(images: NDArray[Any]) -> NDArray[np.float64]:
    """Images (n, h, w[, c]) of any range as (n, h, w, c) in [0, 1]."""
    height, width, *channels = images.shape[1:]
    if channels not in ([], [1], [3], [4]):
        raise ValueError(f"images of shape {images.shape} must be (n, h, w) or (n, h, w, c) with c of 1, 3 or 4.")
    shown = images.astype(np.float64).reshape(len(images), height, width, channels[0] if channels else 1)
    low, high = (0.0, 255.0) if images.dtype == np.uint8 else (float(shown.min()), float(shown.max()))
    return (shown - low) / ((high - low) or 1.0)


def check_proba(name: str, proba: ArrayLike) -> NDArray[np.float64]:
    """Probabilities, or label features, as an array.

    Raises
    ------
    ValueError
        If the shape is not (n, n_clusters), or a value not in [0, 1].
    """
    array = np.asarray(proba)
    if array.ndim != 2 or array.dtype.kind not in "biuf" or 0 in array.shape:
        raise ValueError(f"{name} of shape {array.shape} and dtype {array.dtype} must be numbers (n, n_clusters).")
    if not ((array >= 0) & (array <= 1 + 1e-5)).all():
        raise ValueError(f"{name} has values in [{array.min():g}, {array.max():g}], and must have them in [0, 1].")
    return array.astype(np.float64)


def check_labels(name: str, labels: ArrayLike, n: int) -> NDArray[Any]:
    """One label a sample, as an array.

    Raises
    ------
    ValueError
        If the shape is not (n,).
    """
    array = np.asarray(labels)
    if array.shape != (n,):
        raise ValueError(f"{name} of shape {array.shape} must be of shape ({n},), one a sample.")
    return array


def as_stages(proba: Any, stages: Sequence[str] | None) -> tuple[list[NDArray[np.float64]], list[str]]:
    """Probabilities of each stage, and its name; one array is one stage.

    Raises
    ------
    ValueError
        If probabilities are not valid, or there is another number of names.
    """
    if not len(proba):
        raise ValueError("proba is empty, and must hold the probabilities of some samples.")
    is_one = np.ndim(proba) <= 2 if hasattr(proba, "ndim") else np.ndim(proba[0]) <= 1
    arrays = [proba] if is_one else list(proba)
    names = [f"stage {i + 1}" for i in range(len(arrays))] if stages is None else [str(name) for name in stages]
    if len(names) != len(arrays):
        raise ValueError(f"stages has {len(names)} names, and must have {len(arrays)}, one for each array of proba.")
    return [check_proba("proba", array) for array in arrays], names


def stages_of(recorder: StageRecorder) -> list[Stage]:
    """Stages of the recorder's last fit.

    Raises
    ------
    TypeError
        If it is no recorder.
    ValueError
        If it recorded nothing.
    """
    if not isinstance(recorder, StageRecorder):
        raise TypeError(f"recorder of type {type(recorder).__name__} must be a StageRecorder.")
    return recorder.stages


def draw_points(ax: Any, positions: NDArray[Any], labels: NDArray[Any], names: NDArray[Any]) -> None:
    """One set of points a name, told apart by colour, and beyond the tenth name by marker, too."""
    size = float(np.clip(6000 / max(len(positions), 1), 4, 30))
    for i, name in enumerate(names):
        here = positions[labels == name]
        marker = _MARKERS[i // len(COLORS) % len(_MARKERS)]
        style = {"s": size, "marker": marker, "color": COLORS[i % len(COLORS)]}
        ax.scatter(here[:, 0], here[:, 1], alpha=0.7, linewidths=0, label=str(name), **style)
