"""Training of a fitted network on new samples: it learns what they look like, and forgets none of its clusters."""

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from deepcluster_sk._after_fit import AfterFitMixin
from deepcluster_sk._data import ArraySamples, Samples
from deepcluster_sk._distributed import Ranks, by_all_ranks, join_ranks
from deepcluster_sk._engine import Runtime, explaining_lack_of_memory, settle_batch_norm
from deepcluster_sk._input import Input
from deepcluster_sk._monitor import Monitor
from deepcluster_sk._progress import training
from deepcluster_sk._regrouping import Split
from deepcluster_sk._start import learn_labels
from deepcluster_sk._synced_batch_norm import synchronizing_batch_norm
from deepcluster_sk._torch_state import own_torch_state
from deepcluster_sk._validation import all_or_nothing, make_seed, resolve_device

# Most epochs on new samples.
_MORE_EPOCHS = 10
# A larger learning rate forgets more and learns less.
_LR = 3e-4


def learn_more(
    network: nn.Module,
    logits_of: Callable[[Tensor], Tensor],
    parameters: Iterable[nn.Parameter],
    samples: Samples,
    labels: Tensor,
    n_clusters: int,
    *,
    n_before: int,
    n_epochs: int,
    runtime: Runtime,
    monitor: Monitor,
) -> None:
    """Train a network to give transforms of new samples the labels that it gives to themselves.

    Then each weight is averaged with what it was, by the number of samples behind it, ``n_before``, and of these: else
    a network that sees few of the clusters forgets the others.
    """
    state = [value for value in (*network.parameters(), *network.buffers()) if value.is_floating_point()]
    before = [value.detach().clone() for value in state]
    learn_labels(
        network.train(),
        logits_of,
        parameters,
        samples,
        labels,
        n_clusters,
        n_epochs=n_epochs,
        lr=_LR,
        phase="partial fit",
        runtime=runtime,
        monitor=monitor,
    )
    settle_batch_norm(network, samples, runtime)
    with torch.no_grad():
        for value, known in zip(state, before, strict=True):
            value.lerp_(known, n_before / (n_before + len(samples)))


class PartialFitMixin(AfterFitMixin):
    """``partial_fit``: what a fitted estimator learns from new samples."""

    n_clusters: int
    max_epochs: int | None
    device: Any
    random_state: Any
    verbose: int

    @abstractmethod
    def fit(self, X: Any, y: Any = None) -> Self:
        """Cluster the samples."""

    @abstractmethod
    def _check_params(self) -> None:
        """Raise for any parameter that is wrong whatever the data."""

    @abstractmethod
    def _check_ranks(self, X_shape: tuple[int, ...], ranks: Ranks) -> None:
        """Raise if the ranks do not have the same parameters and X, or too little of it for each to have a part."""

    @abstractmethod
    def _runtime(self, samples: ArraySamples, seed: int, device: torch.device, ranks: Ranks) -> Runtime:
        """Where and how the network is trained."""

    @abstractmethod
    def _store_paths(self, given: Input) -> None:
        """Set what tells of files, or take it away."""

    @all_or_nothing
    @by_all_ranks
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Train on new samples with the clusters that there are, which keep their numbers and names.

        The network learns to give random transforms of the new samples the clusters that it gives to themselves, by a
        small learning rate of its own. Then each weight is averaged with what it was, by the numbers of samples behind
        the two: so a few samples, beside those it has seen, move it little, even if they are of few clusters. New kinds
        of samples do not become new clusters: :meth:`fit` finds those.

        Parameters
        ----------
        X : array-like, path-like, list of path-like, or torch Dataset
            As in :meth:`fit`; samples of the same shape and range, at least two.
        y : ignored

        Returns
        -------
        self : object
            ``labels_`` and ``fit_report_`` are of X, ``history_`` has the new epochs behind the others, and
            ``n_samples_seen_`` counts X too. ``n_init``, ``metric``, ``checkpoint_dir`` and callbacks have no part in
            it. An estimator that is not fitted is fitted.

        Raises
        ------
        TypeError, ValueError
            If a parameter or X is not valid, a cluster was split, whose parts have no place in the network, or there
            is nothing to train (DCSS: an ``encoder`` that is left as it is, with ``second_phase=False``).
        """
        self._check_params()
        if not hasattr(self, "module_"):
            return self.fit(X)
        if any(isinstance(step, Split) for step in self._regroupings):
            raise ValueError("partial_fit cannot train clusters that split_cluster made: fit with more clusters.")
        if not self._learners(self.module_):
            raise ValueError("partial_fit has nothing to train: no part of the network is left that learns.")
        given = self._read(X)
        if len(given.rows) < 2:
            raise ValueError(f"X has {len(given.rows)} sample(s) that can be used, and must have 2 or more.")
        samples, ranks = self._samples(given.rows), join_ranks()
        self._check_ranks(given.rows.shape, ranks)
        device, seed = ranks.device(resolve_device(self.device)), ranks.from_first(lambda: make_seed(self.random_state))
        n_epochs = _MORE_EPOCHS if self.max_epochs is None else min(_MORE_EPOCHS, self.max_epochs)
        (columns,) = self._apply(samples, lambda _, proba: (proba.argmax(1),))
        shown = training(int(self.verbose) if ranks.is_first else 0, {"partial fit": n_epochs}, 1)
        with own_torch_state(device), shown as show:
            runtime = self._runtime(samples, seed + self.n_iter_, device, ranks)
            network, history = runtime.place(copy.deepcopy(self.module_)), copy.deepcopy(self.history_)

            def logits_of(batch: Tensor) -> Tensor:
                return self._represent(network, batch)[1].float().clamp_min(1e-30).log()

            with explaining_lack_of_memory(runtime), synchronizing_batch_norm(network, ranks):
                learn_more(
                    network,
                    logits_of,
                    self._learners(network),
                    samples,
                    torch.from_numpy(columns),
                    self.n_clusters,
                    n_before=self.n_samples_seen_,
                    n_epochs=n_epochs,
                    runtime=runtime,
                    monitor=Monitor(lambda: None, lambda _: False, partial(show, 0), history, ranks=ranks),
                )
        self.module_, self.history_, self.n_iter_ = network.eval(), history, len(history)
        self.n_samples_seen_ += len(samples)
        self._describe(samples)
        self._store_paths(given)
        return self

    def _learners(self, network: Any) -> list[nn.Parameter]:
        """Parameters that ``partial_fit`` trains."""
        return [parameter for parameter in network.parameters() if parameter.requires_grad]
