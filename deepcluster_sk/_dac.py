"""The estimator of Deep Adaptive Clustering; ``_train_dac`` has the schedule."""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from deepcluster_sk._base import own_copy
from deepcluster_sk._base_loop import LoopClustering
from deepcluster_sk._data import ArraySamples
from deepcluster_sk._engine import Runtime
from deepcluster_sk._monitor import Monitor
from deepcluster_sk._train_dac import train_dac
from deepcluster_sk._validation import check_choice, check_number
from deepcluster_sk.losses import pair_cross_entropy, pair_squared_error
from deepcluster_sk.networks import ClusterNetwork, build_cluster_network
from deepcluster_sk.pairs import label_features

_PAIR_LOSSES = {"cross_entropy": pair_cross_entropy, "squared_error": pair_squared_error}


class DACClustering(LoopClustering):
    """Deep Adaptive Clustering: learn which pairs of samples share a cluster, from the pairs that are sure already.

    A network maps each sample to a label feature, non-negative and of unit length. Pairs whose features are alike
    enough become positive, pairs different enough negative, and the network is trained on these with augmented samples;
    the thresholds move towards each other until no pair is left out.

    Parameters
    ----------
    n_clusters : int, default=10
        Number of clusters K.
    network : str or nn.Module, default="auto"
        "auto" (sized from the samples), a name in ``deepcluster_sk.networks.NETWORKS`` ("dac-28" is the paper's for
        28x28 pixels), or a module that maps a batch to features (n, d) or (n, d, h, w). It is copied, never changed.
    image_shape : tuple (height, width[, channels]) or None, default=None
        Shape of one image; needed where X is flattened or its layout is ambiguous.
    image_size : int, tuple (height, width) or None, default=None
        Size, in pixels, that images are cropped and resized to; an integer is the side of a square. None leaves those
        of arrays and Datasets as they are, and takes for files the median of their shorter sides, at most 64.
    on_error : {"raise", "skip"}, default="raise"
        What files do that cannot be read: raise a ValueError that names them, or be left out, with a warning.
    metric : {"auto", "cosine", "euclidean"}, default="auto"
        How feature vectors are compared: by direction, each divided by its length first, or as they are. "auto" is
        "cosine" from 64 features on. Images are taken as they are.
    augment : "auto", None or callable, default="auto"
        Random transforms of training samples: see :func:`~deepcluster_sk.augment.resolve_augmentation`. "auto" never
        mirrors gray images (of one channel, or of equal ones), changes other colours, and is wider than the papers'
        sets, :class:`~deepcluster_sk.augment.ImageAugmentation` with its defaults and its ``color()``.
    max_epochs : int or None, default=None
        Epochs of the paper's loop, and the most that the warm-up and the label start may take; None grows shorter with
        n. The paper's curriculum takes 46.
    batch_size : int, default=256
        Least number of samples a step.
    lr : float, default=1e-4
        Learning rate of RMSprop. The authors' 1e-3 can undo a good start in many epochs.
    lr_schedule : {"cosine", "constant"}, default="cosine"
        Whether the learning rate falls along half a cosine to 0 over the epochs of the paper's loop, or stays, as the
        authors' does. Where these are more than by default, a constant one can undo good clusters.
    tol : float, default=0.0
        The method's own phases end once less than this share of the labels changes from one look at them to the next;
        0 never ends them early.
    n_init : int, default=1
        Networks trained, each from a seed of its own; kept is one with the fewest empty clusters, of these one in which
        no cluster holds over 95 %, and of these the one whose clusters last best under random transforms
        (``augmentation_agreement``, less what chance gives), or, with ``augment=None``, that most often puts a sample
        with its nearest neighbours (:func:`~deepcluster_sk.metrics.neighbor_agreement_score`).
    pair_selection : {"adaptive", "all"}, default="adaptive"
        "all" is DAC*: one falling threshold, so that every pair takes part; ``tol`` ends none of its epochs.
    pair_loss : {"cross_entropy", "squared_error"}, default="cross_entropy"
        The paper's loss, or the one its authors report MNIST with.
    consistency_weight : float, default=0.0
        Weight of the cross-entropy between the label features of a sample and of its transform, which the authors add
        for STL-10 (10).
    curriculum_rate : float or None, default=None
        Learning rate η of the curriculum λ (0.009 in the paper); None ends it with the last epoch.
    block_size : int, default=1000
        Least number m of samples whose pairs are labelled together.
    passes_per_block : int, default=1
        Passes over a block before the next is labelled; the authors take 5 for MNIST.
    warmup_epochs : int or None, default=None
        Epochs of the contrastive warm-up that, with k-means behind it, replaces the paper's start from random weights;
        None grows shorter with n, 0 starts as the paper does.
    n_neighbors : int or "auto", default="auto"
        Nearest neighbours that the warm-up draws near each sample; "auto" is 5, or 0 for photographs (see the guide).
    temperature : float, default=0.5
        Divisor of the cosine similarities in the contrastive loss, > 0.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of convolutions and products in training. "auto" is bfloat16 for images where the hardware has it natively.
        Losses and prediction are always float32.
    device : "auto", str or torch.device, default="auto"
        Where to train; "auto" takes a GPU if there is one.
    random_state : int, RandomState or None, default=None
        Seed of weights, order, transforms and pair sampling. The same seed and number of torch threads give the same
        labels.
    checkpoint_dir : path-like or None, default=None
        Folder in which a fit that is killed goes on where it was when it is run again, and a finished one is found; it
        may be shared by any number of fits. See the user guide for what tells them apart.
    checkpoint_every : float or str, default=60
        Seconds between checkpoints, >= 0, or epochs as a string: "5 epochs".
    on_interrupt : {"raise", "keep"}, default="raise"
        What Ctrl-C and SIGTERM do to ``fit``, once the step under way and a checkpoint are done: raise, or end training
        with what was learnt so far, by restarts that ended if any did. They act at once again the second time.
    verbose : int, default=0
        Above 0, a progress bar is shown; where rich is missing or the output is no terminal, a line an epoch. These
        lines go to the logger "deepcluster_sk" at level INFO in any case.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int64, in [0, n_clusters)
        Cluster of each sample; ``fit`` numbers clusters in use from 0 without gaps.
    cluster_names_ : list of str
        Name of each cluster, its number until ``rename_clusters`` and the like change it.
    module_ : ClusterNetwork
        Trained network in evaluation mode.
    history_ : list of dict
        One record an epoch: phase, epoch, loss, seconds, and from the method's own phases selected_share (share of
        pairs or samples that take part), cluster_sizes and label_change (share of labels changed since the last look).
    n_iter_ : int
        Number of epochs run, all phases together.
    n_samples_seen_ : int
        Samples of ``fit`` and of each ``partial_fit`` since.
    converged_ : bool
        Whether the curriculum came to its end (lower threshold above the upper; for "all", at 0.5), or ``tol`` ended
        it. It does unless a callback stops training or ``curriculum_rate`` is too small for ``max_epochs``, so it says
        nothing of quality.
    fit_report_ : dict
        Diagnostics without labels: n_clusters_used, cluster_sizes, largest_share, mean_confidence,
        augmentation_agreement (share of at most 10,000 samples that keep their cluster under a random transform),
        restart_agreement (share of the other restarts, of shape (n_samples,), that give a sample the same cluster;
        None without others), color_accuracy (share of at most 2,000 images whose cluster the mean and the standard
        deviation of their channels tell; None for vectors), selected_share, label_change, precision.
    n_features_in_ : int
        Number of values in one sample.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X is a data frame with string columns.
    paths_ : list of str
        Where X is files: those that ``labels_`` belong to, in their order.
    unreadable_ : dict of str to str
        Where X is files: those that were left out, each with what is wrong with it.

    Raises
    ------
    TypeError, ValueError
        By ``fit``, for a parameter or X that is not valid; the message names it.

    Warns
    -----
    CheckpointWarning
        By ``fit``, if a checkpoint is damaged or cannot be written.
    UnreadableImageWarning
        By every method that takes X, if files cannot be read and ``on_error="skip"``.
    CollapseWarning, InstabilityWarning, ShortcutWarning
        By ``fit``, if clusters stay empty or one holds nearly all samples; if samples seldom keep their cluster under a
        random transform; if light and colours alone tell most images' clusters.
    ConvergenceWarning
        By ``fit``, where the loss explodes: the epoch is trained again at a tenth of the learning rate, once.

    See Also
    --------
    DCCMClustering : Adds pseudo-labels and mutual information.
    DCSSClustering : Works in the latent space of an autoencoder.

    Notes
    -----
    ``transform`` gives the label features, shape (n_samples, n_clusters); ``predict_proba`` the softmax they are the
    normalisation of.

    References
    ----------
    Chang, Wang, Meng, Xiang and Pan, "Deep Adaptive Image Clustering", ICCV 2017, Algorithm 1 and Eqs. (2) to (13).
    The warm-up: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from deepcluster_sk import DACClustering
    >>> X = load_digits(n_class=3).images[:150]
    >>> dac = DACClustering(n_clusters=3, max_epochs=20, random_state=0).fit(X)
    >>> dac.labels_.shape, dac.transform(X).shape
    ((150,), (150, 3))
    """

    _phase_name = "DAC"

    def __init__(
        self,
        n_clusters: int = 10,
        *,
        network: str | nn.Module = "auto",
        image_shape: tuple[int, ...] | None = None,
        image_size: int | tuple[int, int] | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        metric: Literal["auto", "cosine", "euclidean"] = "auto",
        augment: Any = "auto",
        max_epochs: int | None = None,
        batch_size: int = 256,
        lr: float = 1e-4,
        lr_schedule: Literal["cosine", "constant"] = "cosine",
        tol: float = 0.0,
        n_init: int = 1,
        pair_selection: Literal["adaptive", "all"] = "adaptive",
        pair_loss: Literal["cross_entropy", "squared_error"] = "cross_entropy",
        consistency_weight: float = 0.0,
        curriculum_rate: float | None = None,
        block_size: int = 1000,
        passes_per_block: int = 1,
        warmup_epochs: int | None = None,
        n_neighbors: int | Literal["auto"] = "auto",
        temperature: float = 0.5,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        device: Any = "auto",
        random_state: int | np.random.RandomState | None = None,
        checkpoint_dir: Any = None,
        checkpoint_every: float | str = 60,
        on_interrupt: Literal["raise", "keep"] = "raise",
        verbose: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.network = network
        self.image_shape = image_shape
        self.image_size = image_size
        self.on_error = on_error
        self.metric = metric
        self.augment = augment
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.tol = tol
        self.n_init = n_init
        self.pair_selection = pair_selection
        self.pair_loss = pair_loss
        self.consistency_weight = consistency_weight
        self.curriculum_rate = curriculum_rate
        self.block_size = block_size
        self.passes_per_block = passes_per_block
        self.warmup_epochs = warmup_epochs
        self.n_neighbors = n_neighbors
        self.temperature = temperature
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every = checkpoint_every
        self.on_interrupt = on_interrupt
        self.verbose = verbose

    def _check_params(self) -> None:
        super()._check_params()
        check_choice("pair_selection", self.pair_selection, ("adaptive", "all"))
        check_choice("pair_loss", self.pair_loss, tuple(_PAIR_LOSSES))
        check_number("consistency_weight", self.consistency_weight, float, 0)
        check_number("curriculum_rate", self.curriculum_rate, float, 0, low_open=True, besides=(None,))

    def _build_network(self, sample_shape: tuple[int, ...]) -> ClusterNetwork:
        return build_cluster_network(own_copy(self.network), sample_shape, self.n_clusters)

    def _train(self, network: ClusterNetwork, samples: ArraySamples, runtime: Runtime, monitor: Monitor) -> bool:
        phases = self._phases(len(samples))
        self._start(network, samples, runtime, monitor)
        # λ = 0.45, where the thresholds meet, is passed behind the last epoch.
        stretched_rate = 0.451 / (1.1 * phases[self._phase_name])
        return train_dac(
            network,
            samples,
            n_clusters=self.n_clusters,
            n_epochs=phases[self._phase_name],
            pair_selection=self.pair_selection,
            pair_loss=_PAIR_LOSSES[self.pair_loss],
            consistency_weight=self.consistency_weight,
            curriculum_rate=self.curriculum_rate or stretched_rate,
            block_size=self.block_size,
            passes_per_block=self.passes_per_block,
            lr=self.lr,
            lr_schedule=self.lr_schedule,
            tol=self.tol,
            runtime=runtime,
            monitor=monitor,
        )

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Label feature of each sample.

        Parameters
        ----------
        X : array-like, path-like, list of path-like, or torch Dataset
            As in :meth:`fit`; samples of the same shape and range.

        Returns
        -------
        features : ndarray of shape (n_samples, n_clusters), float32, rows of unit length
            In the order of the columns of :meth:`predict_proba`. Files that cannot be read have NaN.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X does not fit what the estimator was fitted on.
        """
        return self._of_new(X, lambda features, _: features[:, self._cluster_order], missing=math.nan)

    def _represent(self, network: ClusterNetwork, batch: Tensor) -> tuple[Tensor, Tensor]:
        logits = network(batch)
        return label_features(logits), logits.softmax(1)
