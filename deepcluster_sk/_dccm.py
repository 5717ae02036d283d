"""The estimator of Deep Comprehensive Correlation Mining; ``_train_dccm`` has the schedule."""

from typing import Any, Literal, get_args

import numpy as np
from torch import Tensor, nn

from deepcluster_sk._base import own_copy
from deepcluster_sk._base_loop import LoopClustering
from deepcluster_sk._data import ArraySamples
from deepcluster_sk._engine import Runtime
from deepcluster_sk._monitor import Monitor
from deepcluster_sk._train_dccm import train_dccm
from deepcluster_sk._validation import check_choice, check_count_or_share, check_number
from deepcluster_sk.networks import ClusterNetwork, build_cluster_network
from deepcluster_sk.pairs import PairSampling


class DCCMClustering(LoopClustering):
    """Deep Comprehensive Correlation Mining: pseudo-graph, pseudo-labels, robustness and mutual information together.

    The network as it stands gives blocks of samples a pseudo-graph (which are alike) and pseudo-labels (where it is
    sure); it is trained to reproduce both on the originals and on their transforms, while a discriminator ties deep to
    shallow features of images that share an edge.

    Parameters
    ----------
    n_clusters : int, default=10
        Number of clusters K.
    network : str or nn.Module, default="auto"
        "auto" (sized from the samples), a name in ``deepcluster_sk.networks.NETWORKS`` ("dccm-32", "dccm-64" and
        "dccm-96" are the paper's), or a module that maps a batch to features (n, d) or (n, d, h, w). It is copied,
        never changed.
    shallow_layer : str or None, default=None
        Submodule of the network whose output is the shallow map S; None takes the first child of a module of your own,
        and the paper's choice in its networks.
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
        n. The authors take 200.
    batch_size : int, default=256
        Least number of samples a step; the authors take 32.
    lr : float, default=1e-4
        Learning rate of RMSprop.
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
    graph_threshold : float, default=0.95
        Cosine similarity thres1 from which two samples have an edge, in [0, 1].
    label_threshold : float, default=0.9
        Probability thres2 from which a pseudo-label is used, in [0, 1].
    label_weight : float, default=5.0
        Weight α of the pseudo-label loss; 0 leaves it out (M1, M2).
    local_robustness : bool, default=True
        Whether the losses are also taken on transformed samples; False is M1.
    mi_weight : float, default=0.1
        Weight β of the mutual information; 0 leaves it out (M1 to M3).
    mi_positions : int, float or None, default=16
        Positions of the shallow map at which the discriminator is trained, drawn anew every step: a count (all, where
        there are no more), a fraction in (0, 1], or None for all, as in the paper. The loss is a mean over positions,
        so fewer estimate it unbiased, with a variance that the documentation's page on speed gives.
    pair_sampling : {"nearest-random", "nearest-farthest", "random-random", "top-random"}, default="nearest-random"
        Positive and negative pairs of the mutual information: V1 to V4.
    block_size : int, default=1000
        Least number of samples whose graph is taken together.
    passes_per_block : int, default=1
        Passes over a block before the next is taken; the authors take 10.
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
        Whether at most 1 % of the labels changed in the last epoch, or less than ``tol``.
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
    DACClustering : Pairs alone, with moving thresholds.
    DCSSClustering : Works in the latent space of an autoencoder.

    Notes
    -----
    ``transform`` gives the output of the first dense layer D, 64 values for the default network. The default network
    normalises its logits to a standard deviation of 2, so that pseudo-labels can reach ``label_threshold``; the paper's
    networks start at 1.

    References
    ----------
    Wu et al., "Deep Comprehensive Correlation Mining for Image Clustering", ICCV 2019, Algorithm 1 and Eqs. (1) to
    (15). The warm-up: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from deepcluster_sk import DCCMClustering
    >>> X = load_digits(n_class=3).images[:150]
    >>> dccm = DCCMClustering(n_clusters=3, max_epochs=20, random_state=0).fit(X)
    >>> dccm.predict_proba(X).shape, dccm.transform(X).shape
    ((150, 3), (150, 64))
    """

    _phase_name = "DCCM"

    def __init__(
        self,
        n_clusters: int = 10,
        *,
        network: str | nn.Module = "auto",
        shallow_layer: str | None = None,
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
        graph_threshold: float = 0.95,
        label_threshold: float = 0.9,
        label_weight: float = 5.0,
        local_robustness: bool = True,
        mi_weight: float = 0.1,
        mi_positions: float | None = 16,
        pair_sampling: PairSampling = "nearest-random",
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
        self.shallow_layer = shallow_layer
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
        self.graph_threshold = graph_threshold
        self.label_threshold = label_threshold
        self.label_weight = label_weight
        self.local_robustness = local_robustness
        self.mi_weight = mi_weight
        self.mi_positions = mi_positions
        self.pair_sampling = pair_sampling
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
        check_number("graph_threshold", self.graph_threshold, float, 0, 1)
        check_number("label_threshold", self.label_threshold, float, 0, 1)
        check_number("label_weight", self.label_weight, float, 0)
        check_number("mi_weight", self.mi_weight, float, 0)
        check_choice("local_robustness", self.local_robustness, (True, False))
        check_choice("pair_sampling", self.pair_sampling, get_args(PairSampling))
        check_count_or_share("mi_positions", self.mi_positions)

    def _build_network(self, sample_shape: tuple[int, ...]) -> ClusterNetwork:
        return build_cluster_network(
            own_copy(self.network),
            sample_shape,
            self.n_clusters,
            embedding_dim=64,
            shallow_layer=self.shallow_layer,
            # Pseudo-labels count from a confidence of .9, which logits of unit scale never reach.
            logit_scale=2.0,
        )

    def _train(self, network: ClusterNetwork, samples: ArraySamples, runtime: Runtime, monitor: Monitor) -> bool:
        phases = self._phases(len(samples))
        self._start(network, samples, runtime, monitor)
        return train_dccm(
            network,
            samples,
            n_clusters=self.n_clusters,
            n_epochs=phases[self._phase_name],
            graph_threshold=self.graph_threshold,
            label_threshold=self.label_threshold,
            label_weight=self.label_weight,
            local_robustness=self.local_robustness,
            mi_weight=self.mi_weight,
            mi_positions=self.mi_positions,
            pair_sampling=self.pair_sampling,
            block_size=self.block_size,
            passes_per_block=self.passes_per_block,
            lr=self.lr,
            lr_schedule=self.lr_schedule,
            tol=self.tol,
            runtime=runtime,
            monitor=monitor,
        )

    def _represent(self, network: ClusterNetwork, batch: Tensor) -> tuple[Tensor, Tensor]:
        stages = network.stages(batch)
        return stages.embedding.flatten(1), stages.logits.softmax(1)
