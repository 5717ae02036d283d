"""Bad input, case by case: an error names parameter, value got and value needed, and the estimator stays as it was."""

import copy
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from torch import nn

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering

METHODS = [DACClustering, DCCMClustering, DCSSClustering]
each = pytest.mark.parametrize("Estimator", METHODS)
SHORT = {"max_epochs": 1, "random_state": 0}

IMAGES = load_digits(n_class=3).images[:60]
VECTORS = IMAGES.reshape(60, 64)


def replaced(array, place, value):
    """A copy with one value replaced."""
    changed = np.array(array)
    changed.flat[place] = value
    return changed


# Parameters that every method has.
COMMON_PARAMETERS = [
    ("n_clusters", 0, ValueError, r"n_clusters=0 must be an integer in \[1, inf\)"),
    ("n_clusters", 2.5, TypeError, "n_clusters=2.5 must be an integer, got float"),
    ("n_clusters", True, TypeError, "n_clusters=True must be an integer"),
    ("n_clusters", 61, ValueError, "n_clusters=61 must not exceed n_samples=60"),
    ("max_epochs", 0, ValueError, "max_epochs=0"),
    ("batch_size", 1, ValueError, r"batch_size=1 must be an integer in \[2, inf\)"),
    ("lr", 0, ValueError, r"lr=0 must be a number in \(0, inf\)"),
    ("lr", float("nan"), ValueError, "lr=nan"),
    ("lr", float("inf"), ValueError, "lr=inf"),
    ("lr", "fast", TypeError, "lr='fast' must be a number, got str"),
    ("n_init", 0, ValueError, "n_init=0"),
    ("n_neighbors", -1, ValueError, "n_neighbors=-1"),
    ("n_neighbors", "many", TypeError, "n_neighbors='many' must be 'auto' or an integer, got str"),
    ("temperature", 0.0, ValueError, "temperature=0.0"),
    ("precision", "float16", ValueError, "precision='float16' must be one of 'auto', 'float32', 'bfloat16'"),
    ("device", "abacus", ValueError, "device='abacus' must be 'auto' or a torch device"),
    ("device", "meta", ValueError, "device='meta' is not available here"),
    ("device", "mtia", ValueError, "device='mtia' is not available here"),  # AssertionError within torch
    ("device", "hpu", ValueError, "device='hpu' is not available here"),  # ModuleNotFoundError within torch
    ("network", "alexnet", ValueError, "network='alexnet' must be an nn.Module, 'auto' or one of"),
    ("network", 7, TypeError, "network=7 must be a string or an nn.Module"),
    ("augment", "mixup", TypeError, "augment='mixup' must be 'auto', None, or a callable"),
    ("image_shape", (8,), ValueError, r"image_shape=\(8,\) must be None or a tuple"),
    ("image_shape", (8, -8), ValueError, r"image_shape=\(8, -8\) must be None or a tuple"),
    ("image_shape", (9, 9), ValueError, r"image_shape=\(9, 9, 1\) \(height, width, channels\) does not fit"),
    ("random_state", "lucky", ValueError, "random_state='lucky' must be None, an integer in"),
    ("verbose", "loud", TypeError, "verbose='loud'"),
    ("max_epochs", 2.0, TypeError, "max_epochs=2.0 must be None or an integer, got float"),
    ("batch_size", "all", TypeError, "batch_size='all' must be an integer"),
    ("lr", -1e-9, ValueError, r"lr=-1e-09 must be a number in \(0, inf\)"),
    ("lr", 1j, TypeError, r"lr=1j must be a number, got complex"),
    ("tol", -1e-9, ValueError, r"tol=-1e-09 must be a number in \[0, 1\]"),
    ("tol", 1.0001, ValueError, r"tol=1.0001 must be a number in \[0, 1\]"),
    ("n_clusters", None, TypeError, "n_clusters=None must be an integer, got NoneType"),
    ("n_clusters", [3], TypeError, r"n_clusters=\[3\] must be an integer, got list"),
    ("n_clusters", np.array(3.0), TypeError, "n_clusters=.* must be an integer"),
    ("checkpoint_every", -1, ValueError, "checkpoint_every=-1 must be a number of seconds >= 0"),
    ("checkpoint_dir", 7, TypeError, "checkpoint_dir=7 must be None or the path of a folder"),
    ("on_interrupt", "ignore", ValueError, "on_interrupt='ignore' must be one of 'raise', 'keep'"),
    ("verbose", -1, ValueError, "verbose=-1"),
    ("device", 1.5, ValueError, "device=1.5 must be 'auto' or a torch device"),
    ("random_state", -1, ValueError, "random_state=-1 must be None, an integer in"),
    ("image_shape", (8, 8, 0), ValueError, r"image_shape=\(8, 8, 0\)"),
    ("image_shape", "8x8", ValueError, "image_shape='8x8' must be None or a tuple"),
    ("image_shape", (8.0, 8.0), ValueError, r"image_shape=\(8.0, 8.0\)"),
]

# Parameters of one method, and parameters that contradict each other.
OWN_PARAMETERS = [
    (DACClustering(3, pair_selection="some"), ValueError, "pair_selection='some' must be one of 'adaptive', 'all'"),
    (DACClustering(3, pair_loss="hinge"), ValueError, "pair_loss='hinge'"),
    (DACClustering(3, consistency_weight=-1), ValueError, "consistency_weight=-1"),
    (DACClustering(3, curriculum_rate=0), ValueError, r"curriculum_rate=0 must be None or a number in \(0, inf\)"),
    (DACClustering(3, lr_schedule="linear"), ValueError, "lr_schedule='linear' must be one of 'cosine', 'constant'"),
    (DCCMClustering(3, lr_schedule=None), ValueError, "lr_schedule=None must be one of 'cosine', 'constant'"),
    (DACClustering(3, block_size=1), ValueError, "block_size=1"),
    (DACClustering(3, passes_per_block=0), ValueError, "passes_per_block=0"),
    (DACClustering(3, warmup_epochs=-1), ValueError, "warmup_epochs=-1"),
    (DCCMClustering(3, graph_threshold=1.5), ValueError, r"graph_threshold=1.5 must be a number in \[0, 1\]"),
    (DCCMClustering(3, label_threshold=-0.1), ValueError, "label_threshold=-0.1"),
    (DCCMClustering(3, label_weight=-1), ValueError, "label_weight=-1"),
    (DCCMClustering(3, local_robustness=1), ValueError, "local_robustness=1 must be one of True, False"),
    (DCCMClustering(3, mi_positions=0), ValueError, "mi_positions=0"),
    (DCCMClustering(3, mi_positions=1.5), ValueError, r"mi_positions=1.5 must be None, .* in \(0, 1\]"),
    (DCCMClustering(3, mi_positions=np.float32(0)), ValueError, r"or a fraction in \(0, 1\]"),
    (DCCMClustering(3, mi_positions=float("nan")), ValueError, "mi_positions=nan"),
    (DCCMClustering(3, mi_positions="all"), TypeError, "mi_positions='all' must be None, an integer .*, got str"),
    (DCCMClustering(3, mi_positions=True), TypeError, "mi_positions=True must be None"),
    (DCCMClustering(3, pair_sampling="V1"), ValueError, "pair_sampling='V1' must be one of 'nearest-random'"),
    (DCCMClustering(3, network=nn.Flatten(), shallow_layer="x"), ValueError, "shallow_layer='x'"),
    (DCSSClustering(3, fuzzifier=1.0), ValueError, r"fuzzifier=1.0 must be a number in \(1, inf\)"),
    (DCSSClustering(3, cluster_losses="sum"), ValueError, "cluster_losses='sum'"),
    (DCSSClustering(3, center_interval=0), ValueError, "center_interval=0"),
    (DCSSClustering(3, similar_threshold=1.1), ValueError, "similar_threshold=1.1"),
    (DCSSClustering(3, similar_threshold=0.3, dissimilar_threshold=0.4), ValueError, "must not exceed similar"),
    (DCSSClustering(3, encoder="resnet"), TypeError, "encoder='resnet' must be None or an nn.Module"),
    (DCSSClustering(3, encoder=nn.Conv2d(1, 2, 3)), ValueError, "encoder=Conv2d must give a vector"),
    (DCSSClustering(3, latent_dim=0), ValueError, "latent_dim=0"),
    (DCSSClustering(3, network=nn.Flatten()), TypeError, "network=Flatten must have the submodules 'encoder'"),
    (DCSSClustering(3, pretrain_epochs=1.5), TypeError, "pretrain_epochs=1.5 must be None or an integer"),
]

# What ``fit`` is given in place of 60 digits of shape (8, 8), for three clusters.
TRAINING_DATA = {
    "None": (None, ValueError, "X must hold real, finite numbers"),
    "a string": ("digits", ValueError, "X='digits' must be a folder that exists, or a list of paths"),
    "a number": (3.0, ValueError, "X must .* got scalar array"),
    "a dict": ({"a": [1, 2, 3]}, TypeError, "X must .* not 'dict'"),
    "a generator": ((row for row in VECTORS), TypeError, "X must .* not 'generator'"),
    "one dimension": (VECTORS[0], ValueError, "X must .* got 1D array"),
    "five dimensions": (np.zeros((5, 2, 3, 4, 5)), ValueError, r"X of shape \(5, 2, 3, 4, 5\) must be \(n, n_feat"),
    "channels on both sides": (np.zeros((5, 3, 9, 3)), ValueError, "X of shape .* set image_shape"),
    "channels on no side": (np.zeros((5, 13, 9, 13)), ValueError, "X of shape .* set image_shape"),
    "nothing": ([], ValueError, "X must .* got 1D array"),
    "no images": (IMAGES[:0], ValueError, r"X must .* 0 sample\(s\)"),
    "no vectors": (VECTORS[:0], ValueError, r"X must .* 0 sample\(s\)"),
    "no colour images": (np.zeros((0, 8, 8, 3)), ValueError, r"X must .* 0 sample\(s\)"),
    "images without pixels": (np.zeros((5, 0, 8)), ValueError, r"X must .* 0 feature\(s\)"),
    "vectors without numbers": (VECTORS[:, :0], ValueError, r"X must .* 0 feature\(s\)"),
    "one image": (IMAGES[:1], ValueError, r"X must .* 1 sample\(s\) .* minimum of 2"),
    "fewer images than clusters": (IMAGES[:2], ValueError, "n_clusters=3 must not exceed n_samples=2"),
    "NaN first": (replaced(IMAGES, 0, np.nan), ValueError, "X contains NaN"),
    "NaN in the middle": (replaced(IMAGES, 1933, np.nan), ValueError, "X contains NaN"),
    "NaN last": (replaced(VECTORS, -1, np.nan), ValueError, "X contains NaN"),
    "infinity": (replaced(IMAGES, 5, np.inf), ValueError, "X contains infinity"),
    "minus infinity last": (replaced(VECTORS, -1, -np.inf), ValueError, "X contains infinity"),
    "half precision with infinity": (replaced(IMAGES, 5, np.inf).astype(np.float16), ValueError, "X contains infinity"),
    "values too large for float32": (VECTORS * 1e300, ValueError, r"X has values as large as 1.6e\+301"),
    "values too far below 0": (VECTORS * -1e300, ValueError, r"X has values as large as 1.6e\+301"),
    "integers too large": ([[10**400, 1]] * 60, ValueError, "X must .* int too large"),
    "objects that are strings": (np.array([["a", "b"]] * 60, dtype=object), ValueError, "X must .* 'a'"),
    "objects that are None": (np.array([[None, 1.0]] * 60, dtype=object), ValueError, "X contains NaN"),
    "objects that are dicts": (np.array([[{}, 1.0]] * 60, dtype=object), TypeError, "X must .* not 'dict'"),
    "objects that are arrays": (np.array([*IMAGES[:3], None], dtype=object), ValueError, "X must .* sequence"),
    "strings": (np.array([["a", "b"]] * 60), TypeError, "X of dtype <U1 must hold numbers"),
    "numbers as strings": (np.array([["1", "2"]] * 60), TypeError, "X of dtype <U1 must hold numbers"),
    "bytes": (np.array([[b"a"]] * 60), TypeError, r"X of dtype \|S1 must hold numbers"),
    "lists of strings": ([["a", "b"], ["c", "d"]], ValueError, "X must .* 'a'"),
    "complex images": (IMAGES + 1j, ValueError, "X must .* Complex data not supported"),
    "complex vectors": (VECTORS + 0j, ValueError, "X must .* Complex data not supported"),
    "dates": (np.zeros((60, 3), "datetime64[s]"), TypeError, r"X of dtype datetime64\[s\] must hold numbers"),
    "spans of time": (np.zeros((60, 3), "timedelta64[s]"), TypeError, r"X of dtype timedelta64\[s\] must hold numbers"),
    "records": (np.zeros((60, 3), [("a", int)]), TypeError, r"X of dtype \[\('a', '<i8'\)\] must hold numbers"),
    "sparse": (scipy.sparse.csr_array(VECTORS), TypeError, "Sparse data was passed for X"),
    "sparse matrix": (scipy.sparse.coo_matrix(VECTORS), TypeError, "Sparse data was passed for X"),
    "numpy's matrix": (VECTORS.view(np.matrix), TypeError, "X must .* np.matrix is not supported"),
    "masked values": (np.ma.array(IMAGES, mask=IMAGES > 8), ValueError, "X is an array with masked values"),
    "vectors of several lengths": ([[1, 2], [3]], ValueError, "X must .* inhomogeneous"),
    "images of several shapes": ([IMAGES[0], IMAGES[1, :7]], ValueError, "X must hold images of one shape"),
    "paths": (["a.png", "b.png"], ValueError, "X has 2 of 2 files that cannot be read: 'a.png'"),
    "a frame with text": (pd.DataFrame({"a": ["x"] * 60, "b": range(60)}), ValueError, "X must .* 'x'"),
    "a frame with NaN": (pd.DataFrame(replaced(VECTORS, 5, np.nan)), ValueError, "X contains NaN"),
    "a series": (pd.Series(range(60)), ValueError, "X must .* 2-dimensional container"),
    "a polars frame with text": (pl.DataFrame({"a": ["x"] * 60}), ValueError, "X must .* 'x'"),
    "a polars frame with null": (pl.DataFrame({"a": [None, *range(59)]}), ValueError, "X contains NaN"),
    "a polars series": (pl.Series(range(60)), ValueError, "X must .* got 1D array"),
    "a complex tensor": (torch.zeros(60, 4, dtype=torch.complex64), ValueError, "X must .* Complex data not supported"),
    "a sparse tensor": (torch.eye(60).to_sparse(), TypeError, "X of torch.float32 and torch.sparse_coo on cpu must be"),
    "a tensor without values": (torch.zeros(60, 4, device="meta"), TypeError, "X of .* on meta must be a dense tensor"),
    "a tensor with NaN": (torch.full((60, 4), torch.nan), ValueError, "X contains NaN"),
}

# What ``predict`` is given by an estimator that was fitted on images of shape (8, 8).
NEW_DATA = {
    "None": (None, ValueError, "X must hold real, finite numbers"),
    "nothing": (IMAGES[:0], ValueError, r"X must .* 0 sample\(s\)"),
    "an image less wide": (IMAGES[:, :, :7], ValueError, "X has 56 features, but .* is expecting 64"),
    "vectors": (VECTORS, ValueError, r"X has samples of shape \(64,\), but .* fitted on samples of shape \(1, 8, 8\)"),
    "images of as many pixels": (IMAGES.reshape(60, 4, 16), ValueError, r"X has samples of shape \(1, 4, 16\)"),
    "colour of as many numbers": (IMAGES.reshape(60, 4, 4, 4), ValueError, "X of shape .* set image_shape"),
    "colour": (np.stack([IMAGES] * 3, axis=-1), ValueError, "X has 192 features"),
    "a single image": (IMAGES[0], ValueError, r"X of shape \(8, 8\) is a single image; X\[None\] is a batch of one"),
    "a single image with a channel": (IMAGES[0][..., None], ValueError, r"X of shape \(8, 8, 1\) is a single image"),
    "a single tensor": (torch.as_tensor(IMAGES[0]), ValueError, r"X of shape \(8, 8\) is a single image"),
    "NaN": (replaced(IMAGES, -1, np.nan), ValueError, "X contains NaN"),
    "infinity": (replaced(IMAGES, 0, np.inf), ValueError, "X contains infinity"),
    "values too large": (IMAGES * 1e40, ValueError, r"X has values as large as 1.6e\+41"),
    "strings": (np.full((60, 8, 8), "a"), TypeError, "X of dtype <U1 must hold numbers"),
    "complex": (IMAGES * 1j, ValueError, "X must .* Complex data not supported"),
    "sparse": (scipy.sparse.csr_array(VECTORS), TypeError, "Sparse data was passed for X"),
    "a frame": (pd.DataFrame(VECTORS), ValueError, r"X has samples of shape \(64,\)"),
}


@pytest.fixture(scope="module")
def fitted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {Estimator: Estimator(3, **SHORT).fit(IMAGES) for Estimator in METHODS}


def refuse(estimator, method, X, error, needed):
    """The method raises, and nothing of the estimator is another object than before."""
    before = dict(vars(estimator))
    with pytest.raises(error, match=f"(?s){needed}"):
        getattr(estimator, method)(X)
    after = vars(estimator)
    assert after.keys() == before.keys()
    assert all(after[name] is value for name, value in before.items())


@each
@pytest.mark.parametrize(("parameter", "value", "error", "needed"), COMMON_PARAMETERS, ids=str)
def test_bad_parameters_of_all(Estimator, parameter, value, error, needed, fitted):
    refuse(Estimator(**{"n_clusters": 3, parameter: value}), "fit", IMAGES, error, needed)
    again = copy.copy(fitted[Estimator])
    refuse(again.set_params(**{parameter: value}), "fit", IMAGES, error, needed)


@pytest.mark.parametrize(("estimator", "error", "needed"), OWN_PARAMETERS, ids=str)
def test_bad_parameters_of_one(estimator, error, needed):
    refuse(estimator, "fit", IMAGES, error, needed)


@each
@pytest.mark.parametrize("case", TRAINING_DATA)
def test_bad_training_data(Estimator, case, fitted):
    refuse(Estimator(3), "fit", *TRAINING_DATA[case])
    refuse(copy.copy(fitted[Estimator]), "fit", *TRAINING_DATA[case])


@each
@pytest.mark.parametrize("method", ["predict", "predict_proba", "transform", "augmentation_agreement"])
@pytest.mark.parametrize("case", NEW_DATA)
def test_bad_new_data(Estimator, method, case, fitted):
    refuse(fitted[Estimator], method, *NEW_DATA[case])


@each
def test_frames_with_other_columns(Estimator):
    frame = pd.DataFrame(VECTORS).add_prefix("pixel")
    estimator = Estimator(3, image_shape=(8, 8), **SHORT).fit(frame)
    refuse(estimator, "predict", frame.add_prefix("other_"), ValueError, "feature names should match")
    refuse(estimator, "predict", frame.iloc[:, ::-1], ValueError, "Feature names must be in the same order")


@each
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("X", [IMAGES, VECTORS], ids=["images", "vectors"])
@pytest.mark.filterwarnings("ignore:X .* on one scale")
def test_values_far_from_those_of_the_fit(Estimator, X, sign):
    """They would overflow within the network, whatever their own size is."""
    estimator = Estimator(3, metric="euclidean", **SHORT).fit(X * 1e-35)
    refuse(
        estimator, "predict_proba", X * sign, ValueError, r"X is .*e\+3\d times the spread of the samples of fit away"
    )
    assert np.isfinite(estimator.predict_proba(X * sign * 1e-24)).all()  # 1e11 times


@each
@pytest.mark.parametrize("method", ["predict", "predict_proba", "transform", "augmentation_agreement"])
def test_what_is_not_fitted_does_not_predict(Estimator, method):
    refuse(Estimator(3), method, IMAGES, NotFittedError, f"This {Estimator.__name__} instance is not fitted yet")


@each
def test_training_that_fails_leaves_the_fit_before(Estimator, fitted):
    """Here everything is valid until the first batch is transformed a second time."""

    def fails_in_training(batch):
        if len(batch) > 2:  # two are tried beforehand
            raise RuntimeError("no more")
        return batch

    again = copy.copy(fitted[Estimator]).set_params(augment=fails_in_training)
    refuse(again, "fit", IMAGES, RuntimeError, "no more")
    again.set_params(augment="auto")
    assert (again.predict(IMAGES) == fitted[Estimator].labels_).all()
