"""``DCSSClustering(encoder=...)``: modules, autoencoders, methods of ClustPy and scikit-learn transformers."""

import copy
import pickle
import random
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.cluster import DBSCAN
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.manifold import TSNE
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler, normalize
from torch import nn

import deepcluster_sk
from deepcluster_sk import DCSSClustering, _drawn, _encoders, _prediction
from deepcluster_sk._lazy import LazyArray
from deepcluster_sk._scaling import Scaling
from deepcluster_sk.exceptions import CollapseWarning
from deepcluster_sk.metrics import neighbor_agreement_scorer
from deepcluster_sk.model_selection import FullData
from deepcluster_sk.networks import build_autoencoder

DIGITS = load_digits(n_class=3).images[:90]
ROWS = DIGITS.reshape(90, 64)


def dcss(encoder, **params):
    return DCSSClustering(3, encoder=encoder, **{"max_epochs": 2, "random_state": 0, **params})


class Spy(TransformerMixin, BaseEstimator):
    """Gives the first numbers of each row, and keeps what it was fitted on."""

    def __init__(self, n_rows_missing=0, value=None, random_state=None):
        self.n_rows_missing, self.value, self.random_state = n_rows_missing, value, random_state

    def fit(self, X, y="none"):
        self.X_, self.y_ = X.copy(), y
        return self

    def transform(self, X):
        vectors = X[self.n_rows_missing :, :5].astype(float)
        return vectors if self.value is None else np.full_like(vectors, self.value)


class Network(nn.Module):
    """As ClustPy's networks: takes rows, and is used by ``encode``."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(64, 5)

    def encode(self, batch):
        assert batch.ndim == 2
        return self.encoder(batch)


class OfClustPy(TransformerMixin, BaseEstimator):
    """In the place of ClustPy's own base class."""


OfClustPy.__module__ = "clustpy.deep"


class Method(OfClustPy):
    """As ClustPy's methods, which seed whatever there is and may write to X."""

    def __init__(self, neural_network=None, random_state=None):
        self.neural_network, self.random_state = neural_network, random_state

    def fit(self, X, y="none"):
        assert X.dtype == np.float32
        self.y_ = y
        np.random.seed(self.random_state)
        random.seed(self.random_state)
        torch.manual_seed(self.random_state)
        X /= X.max()
        self.neural_network_trained_ = Network()
        return self

    def transform(self, X):
        return self.neural_network_trained_.encode(torch.as_tensor(X)).detach().numpy()


@pytest.fixture
def autoencoder():
    torch.manual_seed(0)
    return build_autoencoder("autoencoder-fc-small", (1, 8, 8), 5)


TRANSFORMERS = {
    "unfitted": PCA(4, random_state=0),
    "fitted": PCA(4, random_state=0).fit(ROWS[::2]),
    "pipeline": make_pipeline(StandardScaler(), PCA(4, random_state=0)),
    "stateless": FunctionTransformer(np.sqrt),
    "frozen": FrozenEstimator(PCA(4, random_state=0).fit(ROWS[::2])),
}


@pytest.mark.parametrize("encoder", TRANSFORMERS.values(), ids=TRANSFORMERS)
def test_transformers(encoder):
    model = dcss(encoder).fit(DIGITS)
    assert {record["phase"] for record in model.history_} == {"label start", "phase 2"}
    assert_array_equal(model.predict(DIGITS), model.labels_)
    assert_array_equal(model.predict(DIGITS[:7]), model.labels_[:7])
    own = encoder if _encoders.is_fitted(encoder) else clone(encoder).fit(ROWS)
    vectors = own.transform(ROWS)
    assert_allclose(model.encoder_.transform(ROWS), vectors)
    vectors = normalize(vectors) if vectors.shape[1] == 64 else vectors  # metric="auto"
    centered = vectors - vectors.mean(axis=0)
    assert_allclose(model.transform(DIGITS), centered / centered.std(), atol=1e-5)


def test_transformers_that_are_given_stay_what_they_were():
    unfitted, fitted = PCA(4), PCA(4, random_state=0).fit(ROWS[:20])
    components = fitted.components_.copy()
    dcss(unfitted).fit(DIGITS)
    assert not hasattr(unfitted, "components_")
    assert unfitted.random_state is None
    model = dcss(fitted).fit(DIGITS)
    assert_array_equal(fitted.components_, components)
    fitted.fit(ROWS[:50] ** 2)
    assert_array_equal(model.predict(DIGITS), model.labels_)


def test_encoders_never_see_labels():
    y = np.arange(90)
    assert dcss(Spy()).fit(DIGITS, y).encoder_.y_ == "none"
    assert dcss(Method()).fit(DIGITS, y).encoder_.y_ == "none"


def test_unfitted_encoders_are_seeded_as_the_fit_is():
    seeds = [dcss(Spy(), random_state=seed).fit(DIGITS).encoder_.random_state for seed in (0, 0, 1)]
    assert seeds[0] == seeds[1] != seeds[2]
    assert dcss(Spy(random_state=7)).fit(DIGITS).encoder_.random_state == 7


@pytest.mark.parametrize("encoder", [StandardScaler(copy=False), Method()], ids=["transformer", "method"])
def test_X_is_not_written_to(encoder):
    X = ROWS.astype(np.float32)
    before = X.copy()
    dcss(encoder).fit(X).predict(X)
    assert_array_equal(X, before)


def test_images_reach_a_transformer_in_the_order_of_image_shape():
    colored = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 3), dtype=np.uint8)
    for X in (colored, colored.transpose(0, 3, 1, 2)):
        assert_array_equal(dcss(Spy()).fit(X).encoder_.X_, colored.reshape(20, -1))


def test_rows_made_when_asked_for_are_transformed_in_portions(monkeypatch):
    monkeypatch.setattr(_encoders, "_PORTION", 7)
    lazy = LazyArray(lambda i: DIGITS[i][None], 90, (1, 8, 8), DIGITS.dtype)
    encoder = PCA(4, random_state=0).fit(ROWS)
    assert_allclose(_encoders.transformed(encoder, lazy), encoder.transform(ROWS), rtol=1e-4, atol=1e-5)
    assert _encoders.is_fitted(_encoders.fitted(PCA(4), lazy, random_state=0))


def test_new_samples_have_the_shape_of_X_not_of_the_vectors():
    model = dcss(PCA(4)).fit(DIGITS)
    with pytest.raises(ValueError, match=r"was fitted on samples of shape \(1, 8, 8\)"):
        model.predict(ROWS)
    assert model.partial_fit(DIGITS[:30]).predict(DIGITS).shape == (90,)
    assert model.augmentation_agreement(DIGITS).shape == (90,)


def test_a_fit_without_encoder_forgets_the_one_before():
    model = dcss(PCA(4)).fit(DIGITS)
    model.set_params(encoder=nn.Sequential(nn.Flatten(), nn.Linear(64, 5))).fit(DIGITS)
    assert not hasattr(model, "encoder_")
    assert model.transform(DIGITS).shape == (90, 5)
    with pytest.raises(ValueError, match="encoder=PCA cannot be fitted"):
        model.set_params(encoder=PCA(200)).fit(DIGITS)
    assert not hasattr(model, "encoder_")


def test_clones_and_searches():
    fitted = PCA(4, random_state=0).fit(ROWS[:20])
    assert dcss(fitted).get_params()["encoder__n_components"] == 4
    assert not hasattr(clone(dcss(fitted)).encoder, "components_")
    assert_allclose(clone(dcss(FrozenEstimator(fitted))).encoder.components_, fitted.components_)
    for grid in ({"encoder__n_components": [3, 5]}, {"encoder": [PCA(3), make_pipeline(PCA(5))]}):
        search = GridSearchCV(dcss(PCA(4)), grid, scoring=neighbor_agreement_scorer, cv=FullData())
        assert search.fit(DIGITS).predict(DIGITS).shape == (90,)


def test_pickle_keeps_a_transformer_and_save_refuses_it(tmp_path):
    model = dcss(PCA(4)).fit(DIGITS)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict_proba(DIGITS), model.predict_proba(DIGITS))
    for method, name in (("save", "model.safetensors"), ("export", "model.pt2")):
        with pytest.raises(ValueError, match=f"{method} writes a network, and encoder=PCA, .* pickle or joblib"):
            getattr(model, method)(tmp_path / name)
        assert not (tmp_path / name).exists()


def test_checkpoints_tell_transformers_apart(tmp_path):
    labels = [dcss(PCA(n), checkpoint_dir=tmp_path, checkpoint_every="1 epoch").fit(DIGITS).labels_ for n in (2, 2, 8)]
    assert_array_equal(labels[0], labels[1])
    assert len(list(tmp_path.iterdir())) == 2
    assert_array_equal(labels[0], dcss(PCA(2)).fit(DIGITS).labels_)


@pytest.mark.parametrize("encoder", ["resnet", 3, PCA, DBSCAN(), TSNE(), np.sqrt], ids=str)
def test_wrong_kinds(encoder):
    with pytest.raises(TypeError, match=r"encoder=.* must be None or an nn.Module, a scikit-learn transformer, or a"):
        dcss(encoder).fit(DIGITS)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (Spy(n_rows_missing=1), "encoder=Spy must turn X, as rows, into vectors: it gives 89 for 90 samples"),
        (Spy(value=np.nan), "encoder=Spy must turn X, as rows, into vectors: Input contains NaN"),
        (FunctionTransformer(lambda X: X.sum(1)), "encoder=FunctionTransformer must turn .* Expected 2D array"),
        (PCA(4).fit(ROWS[:, :5]), "encoder=PCA must turn X, as rows, into vectors: X has 64 features, but PCA is"),
        (PCA(65), r"encoder=PCA cannot be fitted to X as rows of shape \(90, 64\): n_components=65 must be"),
    ],
    ids=["rows", "NaN", "scalars", "features", "fit"],
)
def test_transformers_that_do_not_fit_X(encoder, message):
    with pytest.raises(ValueError, match=message):
        dcss(encoder).fit(DIGITS)


def test_the_encoder_of_a_trained_autoencoder_is_used_as_it_is(autoencoder):
    model = dcss(autoencoder, encoder_lr=0).fit(DIGITS)
    assert {record["phase"] for record in model.history_} == {"label start", "phase 2"}
    with torch.no_grad():
        latent = autoencoder.encoder(torch.as_tensor(DIGITS[:, None], dtype=torch.float32))
    assert_allclose(model.transform(DIGITS), latent.numpy(), rtol=1e-4, atol=1e-4)


def test_an_autoencoder_is_trained_first_for_pretrain_epochs(autoencoder):
    before = [parameter.clone() for parameter in autoencoder.parameters()]
    model = dcss(autoencoder, pretrain_epochs=2).fit(DIGITS)
    assert list(dict.fromkeys(record["phase"] for record in model.history_)) == [
        "pretraining",
        "label start",
        "phase 2",
    ]
    as_network = DCSSClustering(
        3, network=autoencoder, pretrain_epochs=2, first_phase_epochs=0, max_epochs=2, random_state=0
    )
    assert_array_equal(model.predict_proba(DIGITS), as_network.fit(DIGITS).predict_proba(DIGITS))
    assert all(map(torch.equal, before, autoencoder.parameters()))
    autoencoder.decoder = nn.Linear(5, 7)
    with pytest.raises(ValueError, match=r"encoder=Autoencoder must encode samples of shape \(1, 8, 8\)"):
        dcss(autoencoder, pretrain_epochs=2).fit(DIGITS)


@pytest.mark.parametrize("is_fitted", [True, False])
def test_methods_of_clustpy(is_fitted):
    method = Method(random_state=3)
    method = method.fit(ROWS.astype(np.float32)) if is_fitted else method
    given = pickle.dumps(method)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    frozen, trained = dcss(method, encoder_lr=0).fit(DIGITS), dcss(method, encoder_lr=1e-2).fit(DIGITS)
    assert random.getstate() == states[0]
    assert_array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])
    assert pickle.dumps(method) == given
    assert_allclose(frozen.transform(DIGITS), frozen.encoder_.transform(ROWS.astype(np.float32)), rtol=1e-4, atol=1e-4)
    assert not np.allclose(trained.transform(DIGITS), frozen.transform(DIGITS), atol=1e-3)
    for model in (frozen, trained):
        assert_array_equal(model.predict(DIGITS[:7]), model.labels_[:7])
        assert {record["phase"] for record in model.history_} == {"label start", "phase 2"}


def test_methods_of_clustpy_in_files(tmp_path):
    method = Method(random_state=3).fit(ROWS.astype(np.float32))
    model = dcss(method).fit(DIGITS)
    model.save(tmp_path / "model.safetensors")
    again = deepcluster_sk.load(tmp_path / "model.safetensors", encoder=method)
    assert_array_equal(again.predict_proba(DIGITS), model.predict_proba(DIGITS))
    with pytest.raises(ValueError, match="encoder=Method must be fitted"):
        deepcluster_sk.load(tmp_path / "model.safetensors", encoder=Method())
    again = pickle.loads(pickle.dumps(dcss(nn.Sequential(nn.Flatten(), nn.Linear(64, 5))).fit(DIGITS)))
    assert_array_equal(again.predict(DIGITS), again.labels_)


@pytest.mark.parametrize("name", ["DEC", "IDEC", "DCN", "DKM"])
def test_clustpy_itself(name, tmp_path):
    deep = pytest.importorskip("clustpy.deep")
    X = DIGITS / 16
    method = getattr(deep, name)(3, pretrain_epochs=1, clustering_epochs=1, random_state=0)
    model = dcss(method).fit(X)
    assert not hasattr(method, "labels_")
    assert_array_equal(model.predict(X), model.labels_)
    method.fit(ROWS.astype(np.float32) / 16)
    fitted = dcss(method, encoder_lr=0).fit(X)
    assert_allclose(fitted.transform(X), method.transform(ROWS.astype(np.float32) / 16), rtol=1e-3, atol=1e-3)
    assert_allclose(fitted.encoder_.labels_, model.encoder_.labels_)
    model.save(tmp_path / "model.safetensors")
    again = deepcluster_sk.load(tmp_path / "model.safetensors", encoder=method)
    assert_array_equal(again.predict(X), model.labels_)
    network = dcss(method.neural_network_trained_, encoder_lr=0).fit(X)
    assert_array_equal(network.labels_, fitted.labels_)


@pytest.mark.parametrize("X", [(255 / 16 * DIGITS).astype(np.uint8), normalize(ROWS).astype(np.float32)])
def test_a_sample_is_judged_alone_as_among_others(X, tmp_path, monkeypatch):
    """Transforms are in units of the samples of ``fit``, also those of a loaded estimator."""
    given = {} if X.ndim == 3 else {"metric": "euclidean"}
    one = dcss(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), **given).fit(X)
    one.save(tmp_path / "model")
    again = deepcluster_sk.load(tmp_path / "model", encoder=one.encoder)
    units, seen = Scaling.of(X if X.ndim == 2 else X[:, None]), []
    monkeypatch.setattr(_prediction, "InUnits", lambda *args: seen.append(args[1:]) or _drawn.InUnits(*args))
    for estimator in (one, again):
        estimator.augmentation_agreement(X[:1] // 2 if X.ndim == 3 else X[:1])
    assert len(seen) == 2
    for offset, scale in seen:
        assert_array_equal(offset, units.offset)
        assert scale == units.scale


@pytest.mark.parametrize("params", [{"encoder_lr": 0}, {"second_phase": False}, {"second_phase_epochs": 0}])
def test_an_encoder_that_is_not_trained_is_left_as_it_is(params):
    """Batch norm, too, keeps the statistics that it has, and dropout drops nothing."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10), nn.Dropout(0.5))
    encoder(torch.rand(200, 64))
    before = copy.deepcopy(encoder.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        model = dcss(encoder, **params).fit(DIGITS)
    expected = encoder.eval()(torch.from_numpy(DIGITS).float()).detach().numpy()
    assert_allclose(model.transform(DIGITS), expected, atol=1e-5)
    if params == {"encoder_lr": 0}:
        model.partial_fit(DIGITS[:40])
    for name, value in model.module_.encoder.state_dict().items():
        assert torch.equal(value, before[name])


def test_an_encoder_that_is_trained_takes_the_statistics_of_X():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10))
    norm = dcss(encoder).fit(DIGITS).module_.encoder[2]
    assert norm.num_batches_tracked > 0


@pytest.mark.parametrize("encoder", [nn.Linear(64, 8), PCA(4), PCA(64)], ids=["module", "PCA", "directions"])
def test_samples_on_another_scale_than_those_of_fit_are_told_before_an_encoder_sees_them(encoder):
    vectors = ROWS.astype(np.float32)
    fitted = pickle.loads(pickle.dumps(dcss(encoder).fit(vectors)))
    with pytest.warns(UserWarning, match="which were .* from it"):
        fitted.predict(100 * vectors)
    with pytest.raises(ValueError, match="times the spread of the samples of fit"):
        fitted.predict(np.float32(1e20) * vectors)


def test_an_encoder_that_is_taken_away_is_still_the_fitted_one():
    fitted = dcss(PCA(5)).fit(ROWS)
    proba = fitted.predict_proba(ROWS)
    assert_allclose(fitted.set_params(encoder=None).predict_proba(ROWS), proba, atol=1e-6)


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 255.0), (-2.0, 4.5), (5.0, 1.0)])
@pytest.mark.parametrize("shape", [(3, 8, 8), (70,)])
def test_transforms_allow_for_the_range_of_what_an_encoder_gets(shape, offset, scale):
    generator = np.random.default_rng(0)
    units = generator.random((40, *shape)) if len(shape) == 3 else generator.normal(size=(40, 70)) + 3
    if len(shape) == 3:
        units = (units - units.min()) / np.ptp(units)
    seen = []

    class Seen(nn.Module):
        def forward(self, batch):
            if batch.any():  # zeros ask for the shape of the output
                seen.append(batch.detach().clone())
            return batch.flatten(1)[:, :5].contiguous()

    given = {"image_shape": (*shape[1:], shape[0])} if len(shape) == 3 else {"metric": "euclidean"}
    for X in (units.astype(np.float32), (units * scale + offset).astype(np.float32)):
        dcss(Seen(), batch_size=40, device="cpu", precision="float32", **given).fit(X)
    first, second = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    transformed = [batch for batch in first if not np.isin(batch.numpy(), units.astype(np.float32)).all()]
    assert transformed
    for one, other in zip(first, second, strict=True):
        assert_allclose(other.numpy(), one.numpy() * scale + offset, atol=2e-4 * scale)
