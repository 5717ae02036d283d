"""What a user may do with a fitted estimator: join, divide and name its clusters, save and export it."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from deepcluster_sk import _export, _persistence
from deepcluster_sk._data import ArraySamples
from deepcluster_sk._diagnostics import N_TRANSFORMED, color_accuracy, figures
from deepcluster_sk._distributed import is_first_rank
from deepcluster_sk._prediction import PredictionMixin
from deepcluster_sk._regrouping import Merge, Split
from deepcluster_sk._start import few_threads
from deepcluster_sk._validation import all_or_nothing, check_cluster, check_number, make_seed

# Samples of fit that another device puts into another cluster.
_TOLERATED = 0.01


class AfterFitMixin(PredictionMixin):
    """Methods of a fitted estimator that change no weight of its network."""

    labels_: NDArray[np.intp]
    cluster_names_: list[str]
    fit_report_: dict[str, Any]
    history_: list[dict[str, Any]]
    n_iter_: int
    n_samples_seen_: int
    cluster_centers_: NDArray[np.float32]

    @all_or_nothing
    def merge_clusters(self, X: Any, clusters: Sequence[int]) -> Self:
        """Make one cluster of several.

        Parameters
        ----------
        X : array-like, path-like, list of path-like, or torch Dataset
            The samples that ``labels_`` are of, those of :meth:`fit` or of the last :meth:`partial_fit`, from which
            ``labels_`` and ``fit_report_`` are made anew.
        clusters : sequence of int
            At least two, all different. The smallest number is that of the new cluster, whose probability is the sum of
            theirs; numbers above the others close up.

        Returns
        -------
        self : object
            With ``labels_``, ``fit_report_`` and ``cluster_names_`` of the new clusters. ``transform`` stays as it is.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError, ValueError
            If ``clusters`` are not such numbers, or X is not what the estimator was fitted on.
        """
        check_is_fitted(self, "module_")
        if not isinstance(clusters, Sequence | np.ndarray):
            raise TypeError(f"clusters={clusters!r} must be a sequence of integers.")
        chosen = sorted(check_cluster("clusters", cluster, len(self.cluster_names_)) for cluster in clusters)
        if len(set(chosen)) < max(2, len(chosen)):
            raise ValueError(f"clusters={clusters!r} must be two or more different clusters.")
        samples = self._training_samples(X)
        first, *others = chosen
        names = self._given_names()
        if any(names[cluster] is not None for cluster in chosen):
            names[first] = " + ".join(self.cluster_names_[cluster] for cluster in chosen)
        kept = [name for cluster, name in enumerate(names) if cluster not in others]
        return self._regroup(samples, Merge(tuple(chosen)), kept)

    @all_or_nothing
    def split_cluster(
        self, X: Any, cluster: int, n_parts: int = 2, *, random_state: int | np.random.RandomState | None = None
    ) -> Self:
        """Divide a cluster by k-means in the embedding.

        Parameters
        ----------
        X : array-like, path-like, list of path-like, or torch Dataset
            The samples that ``labels_`` are of, those of :meth:`fit` or of the last :meth:`partial_fit`: their
            embedding is divided, and ``labels_`` and ``fit_report_`` are made anew from them.
        cluster : int, in [0, n_clusters)
        n_parts : int, default=2
            Clusters it becomes, >= 2. The largest keeps its number, the others get numbers behind all that there are.
            The cluster's probability goes to one of them, whose centre is nearest.
        random_state : int, RandomState or None, default=None
            Seeds k-means.

        Returns
        -------
        self : object
            With ``labels_``, ``fit_report_`` and ``cluster_names_`` of the new clusters. ``transform`` stays as it is.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError, ValueError
            If a parameter is not valid, X is not what the estimator was fitted on, or the cluster has fewer different
            samples than parts.
        """
        check_is_fitted(self, "module_")
        chosen = check_cluster("cluster", cluster, len(self.cluster_names_))
        check_number("n_parts", n_parts, int, 2)
        seed = make_seed(random_state)
        samples = self._training_samples(X)
        members = torch.from_numpy(np.flatnonzero(self.labels_ == chosen))
        needed = f"cluster={chosen} must hold n_parts={n_parts} different samples or more"
        if len(members) < n_parts:
            raise ValueError(f"{needed}, and holds {len(members)}.")
        (embedding,) = self._apply(samples, lambda embedding, _: (embedding,), indices=members)
        if len(np.unique(embedding, axis=0)) < n_parts:
            raise ValueError(f"{needed}, and all of its {len(members)} are alike to the network.")
        with few_threads():
            kmeans = KMeans(n_parts, n_init=10, random_state=seed).fit(embedding)
        centers = kmeans.cluster_centers_[np.argsort(-np.bincount(kmeans.labels_), kind="stable")]
        names = self._given_names()
        parts = [None if names[chosen] is None else f"{names[chosen]} ({i + 1})" for i in range(n_parts)]
        names = [*names[:chosen], parts[0], *names[chosen + 1 :], *parts[1:]]
        return self._regroup(samples, Split(chosen, torch.from_numpy(centers.astype(np.float32))), names)

    def rename_clusters(self, names: Mapping[int, str] | Sequence[str]) -> Self:
        """Name clusters, for reports and pictures. Labels stay numbers: ``cluster_names_`` has the name of each.

        Parameters
        ----------
        names : mapping from int to str, or sequence of str
            Names of some clusters, or of all in their order. No two clusters have the same.

        Returns
        -------
        self : object
            With ``cluster_names_``.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError, ValueError
            If there is no such cluster, or names are not different texts.
        """
        check_is_fitted(self, "module_")
        renamed = list(self.cluster_names_)
        if isinstance(names, str) or not isinstance(names, Mapping | Sequence | np.ndarray):
            raise TypeError(f"names={names!r} must be a mapping from cluster to name, or a sequence of names.")
        if not isinstance(names, Mapping) and len(names) != len(renamed):
            raise ValueError(f"names has {len(names)} names, and must have {len(renamed)}, one a cluster.")
        for cluster, name in names.items() if isinstance(names, Mapping) else enumerate(names):
            if not isinstance(name, str):
                raise TypeError(f"names={names!r} must be texts, got {name!r}.")
            if not name.strip():
                raise ValueError(f"names={names!r} must be texts that are not empty, got {name!r}.")
            renamed[check_cluster("names", cluster, len(renamed))] = str(name)
        twice = sorted({name for name in renamed if renamed.count(name) > 1})
        if twice:
            raise ValueError(f"names must be different, got {', '.join(twice)} twice; merge_clusters joins clusters.")
        self.cluster_names_ = renamed
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to a file of numbers and text, for :func:`deepcluster_sk.load`.

        Parameters
        ----------
        path : path-like
            The file, in the safetensors format; one that is there is replaced. Of the processes of one fit, the first
            alone writes it.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If ``encoder`` is a transformer of scikit-learn, which is no numbers: use pickle or joblib.
        OSError
            If the file cannot be written; one that was there stays.
        """
        check_is_fitted(self, "module_")
        self._refuse_transformer("save")
        if is_first_rank():
            _persistence.save(self, path)

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write a program that computes :meth:`predict_proba`, with the scaling of samples in it, for other runtimes.

        Parameters
        ----------
        path : path-like
            Ends in ".pt2", for ``torch.export.load``, or in ".onnx"; that needs ``pip install "deepcluster_sk[onnx]"``.
            The program takes any number of samples in float32, of shape (n_samples, c, h, w) or (n_samples,
            n_features) and in the range of X, and gives a probability for each of ``cluster_names_``.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If ``path`` ends in something else, or ``encoder`` is a transformer of scikit-learn.
        ImportError
            If what ONNX needs is not installed.
        """
        check_is_fitted(self, "module_")
        self._refuse_transformer("export")
        if is_first_rank():
            _export.export(self, path)

    def _refuse_transformer(self, method: str) -> None:
        transformer = self._transformer()
        if transformer is not None:
            raise ValueError(
                f"{method} writes a network, and encoder={type(transformer).__name__}, which comes before it, is none: "
                "keep the estimator with pickle or joblib."
            )

    def _given_names(self) -> list[str | None]:
        """Name of each cluster that has one from the user, and None for the others."""
        return [None if name == str(cluster) else name for cluster, name in enumerate(self.cluster_names_)]

    def _training_samples(self, X: Any) -> ArraySamples:
        """The samples that ``labels_`` are of, if X is these."""
        rows = self._read(X).rows
        n_trained = len(self.labels_)
        if len(rows) != n_trained:
            raise ValueError(
                f"X has {len(rows)} samples, and must be the {n_trained} that labels_ are of, those of the last fit or "
                "partial_fit."
            )
        samples = self._samples(rows)
        n_others = int((self._labels_and_confidence(samples)[0] != self.labels_).sum())
        if n_others > _TOLERATED * n_trained:
            raise ValueError(
                f"X must be the samples that labels_ are of, in their order, but {n_others} of its {n_trained} are in "
                "another cluster."
            )
        return samples

    def _labels_and_confidence(self, samples: ArraySamples) -> tuple[NDArray[Any], ...]:
        def largest(embedding: Tensor, proba: Tensor) -> tuple[Tensor, ...]:
            proba = self._regrouped(embedding, proba)
            return proba.argmax(1), proba.amax(1)

        return self._apply(samples, largest)

    def _regroup(self, samples: ArraySamples, step: Merge | Split, names: list[str | None]) -> Self:
        """Take a step, and describe the clusters that there are then; those without a name have their number for it."""
        self._regroupings = [*self._regroupings, step]
        self.cluster_names_ = []
        for cluster, name in enumerate(names):
            wanted = str(cluster) if name is None else name
            while wanted in self.cluster_names_:
                wanted += "'"
            self.cluster_names_.append(wanted)
        if hasattr(self, "cluster_centers_"):
            self.cluster_centers_ = step.of_centers(self.cluster_centers_)
        self._describe(samples)
        return self

    def _describe(self, samples: ArraySamples) -> None:
        """Set the labels of samples, and a report of them."""
        self.labels_, confidence = self._labels_and_confidence(samples)
        sizes = np.bincount(self.labels_, minlength=len(self.cluster_names_))
        agreement = None
        if self.augment is not None:
            order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))
            kept = self._kept_under_transform(samples, order[:N_TRANSFORMED].sort().values)
            agreement = float(kept.mean())
        described = figures(sizes, confidence, agreement, color_accuracy(samples, self.labels_), self.history_)
        # The other restarts have no such clusters, or saw no such samples.
        self.fit_report_ = {**self.fit_report_, **described, "restart_agreement": None}
