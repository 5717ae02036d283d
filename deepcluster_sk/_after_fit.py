"""What a user may do to the clusters of a fitted estimator: join, divide and name them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from deepcluster_sk._data import ArraySamples
from deepcluster_sk._prediction import PredictionMixin
from deepcluster_sk._regrouping import Merge, Split
from deepcluster_sk._validation import check_cluster, check_number, make_seed

# Samples of fit that another device puts into another cluster.
_TOLERATED = 0.01
# Samples whose transforms tell how stable the new clusters are.
_N_TRANSFORMED = 10_000


class RegroupingMixin(PredictionMixin):
    """Methods that change which clusters there are, and no weight of the network."""

    labels_: NDArray[np.intp]
    cluster_names_: list[str]
    fit_report_: dict[str, Any]
    cluster_centers_: NDArray[np.float32]

    def merge_clusters(self, X: Any, clusters: Sequence[int]) -> Self:
        """Make one cluster of several.

        Parameters
        ----------
        X : array-like, path-like, list of path-like, or torch Dataset
            The samples of :meth:`fit`, from which ``labels_`` and ``fit_report_`` are made anew.
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
        samples = self._training_samples(X)
        if not isinstance(clusters, Sequence | np.ndarray):
            raise TypeError(f"clusters={clusters!r} must be a sequence of integers.")
        chosen = sorted(check_cluster("clusters", cluster, len(self.cluster_names_)) for cluster in clusters)
        if len(set(chosen)) < max(2, len(chosen)):
            raise ValueError(f"clusters={clusters!r} must be two or more different clusters.")
        first, *others = chosen
        names = [name for cluster, name in enumerate(self.cluster_names_) if cluster not in others]
        names[first] = " + ".join(self.cluster_names_[cluster] for cluster in chosen)
        sizes = np.bincount(self.labels_, minlength=len(self.cluster_names_))[chosen]

        def of_centers(centers: NDArray[Any]) -> NDArray[Any]:
            joined = np.average(centers[chosen], axis=0, weights=sizes if sizes.any() else None)
            return np.delete(np.concatenate([centers[:first], joined[None], centers[first + 1 :]]), others, axis=0)

        return self._regroup(samples, Merge(tuple(chosen)), names, of_centers)

    def split_cluster(
        self, X: Any, cluster: int, n_parts: int = 2, *, random_state: int | np.random.RandomState | None = None
    ) -> Self:
        """Divide a cluster by k-means in the embedding.

        Parameters
        ----------
        X : array-like, path-like, list of path-like, or torch Dataset
            The samples of :meth:`fit`, whose embedding is divided, and from which ``labels_`` and ``fit_report_`` are
            made anew.
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
        samples = self._training_samples(X)
        chosen = check_cluster("cluster", cluster, len(self.cluster_names_))
        check_number("n_parts", n_parts, int, 2)
        seed = make_seed(random_state)
        members = torch.from_numpy(np.flatnonzero(self.labels_ == chosen))
        needed = f"cluster={chosen} must hold n_parts={n_parts} different samples or more"
        if len(members) < n_parts:
            raise ValueError(f"{needed}, and holds {len(members)}.")
        (embedding,) = self._apply(samples, lambda embedding, _: (embedding,), indices=members)
        if len(np.unique(embedding, axis=0)) < n_parts:
            raise ValueError(f"{needed}, and all of its {len(members)} are alike to the network.")
        kmeans = KMeans(n_parts, n_init=10, random_state=seed).fit(embedding)
        centers = kmeans.cluster_centers_[np.argsort(-np.bincount(kmeans.labels_), kind="stable")]
        parts = [f"{self.cluster_names_[chosen]} ({i + 1})" for i in range(n_parts)]
        names = [*self.cluster_names_, *parts[1:]]
        names[chosen] = parts[0]

        def of_centers(before: NDArray[Any]) -> NDArray[Any]:
            after = np.concatenate([before, centers[1:]])
            after[chosen] = centers[0]
            return after

        return self._regroup(samples, Split(chosen, torch.from_numpy(centers.astype(np.float32))), names, of_centers)

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
        if isinstance(names, str) or not isinstance(names, Mapping | Sequence):
            raise TypeError(f"names={names!r} must be a mapping from cluster to name, or a sequence of names.")
        if not isinstance(names, Mapping) and len(names) != len(renamed):
            raise ValueError(f"names has {len(names)} names, and must have {len(renamed)}, one a cluster.")
        for cluster, name in names.items() if isinstance(names, Mapping) else enumerate(names):
            if not isinstance(name, str) or not name.strip():
                raise TypeError(f"names={names!r} must be texts that are not empty, got {name!r}.")
            renamed[check_cluster("names", cluster, len(renamed))] = name
        twice = sorted({name for name in renamed if renamed.count(name) > 1})
        if twice:
            raise ValueError(f"names must be different, got {', '.join(twice)} twice; merge_clusters joins clusters.")
        self.cluster_names_ = renamed
        return self

    def _training_samples(self, X: Any) -> ArraySamples:
        """The samples of ``fit``, if X is these."""
        rows = self._read(X).rows
        n_trained = len(self.labels_)
        if len(rows) != n_trained:
            raise ValueError(f"X has {len(rows)} samples, and must be the {n_trained} of fit.")
        samples = ArraySamples(rows, self._scaling)
        n_others = int((self._labels_and_confidence(samples)[0] != self.labels_).sum())
        if n_others > _TOLERATED * n_trained:
            raise ValueError(
                f"X must be the samples of fit in their order, but {n_others} of its {n_trained} are in another "
                "cluster than labels_ says."
            )
        return samples

    def _labels_and_confidence(self, samples: ArraySamples) -> tuple[NDArray[Any], ...]:
        def largest(embedding: Tensor, proba: Tensor) -> tuple[Tensor, ...]:
            proba = self._regrouped(embedding, proba)
            return proba.argmax(1), proba.amax(1)

        return self._apply(samples, largest)

    def _regroup(
        self,
        samples: ArraySamples,
        step: Merge | Split,
        names: list[str],
        of_centers: Callable[[NDArray[Any]], NDArray[Any]],
    ) -> Self:
        """Take a step, and describe the clusters that there are then."""
        self._regroupings = [*self._regroupings, step]
        self.cluster_names_ = names
        self.labels_, confidence = self._labels_and_confidence(samples)
        sizes = np.bincount(self.labels_, minlength=len(names))
        agreement = None
        if self.augment is not None:
            some = (
                torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:_N_TRANSFORMED].sort().values
            )
            agreement = float(self._kept_under_transform(samples, some).mean())
        self.fit_report_ = {
            **self.fit_report_,
            "n_clusters_used": int((sizes > 0).sum()),
            "cluster_sizes": sizes.tolist(),
            "largest_share": float(sizes.max() / len(samples)),
            "mean_confidence": float(confidence.mean()),
            "augmentation_agreement": agreement,
            "restart_agreement": None,  # the other restarts have no such clusters
        }
        if hasattr(self, "cluster_centers_"):
            self.cluster_centers_ = of_centers(self.cluster_centers_)
        return self
