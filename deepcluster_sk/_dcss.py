"""The estimator of Deep Clustering with Self-Supervision; ``_train_dcss`` has the schedule."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from deepcluster_sk._data import ArraySamples
from deepcluster_sk._encoders import BaseEncoderClustering
from deepcluster_sk._engine import Runtime, settle_batch_norm
from deepcluster_sk._monitor import Monitor
from deepcluster_sk._start import kmeans_centers, learn_labels
from deepcluster_sk._train_dcss import check_thresholds, pretrain, train_autoencoder, train_mnet, update_centers
from deepcluster_sk._validation import check_choice, check_number
from deepcluster_sk.networks import DCSSNetwork


class DCSSClustering(BaseEncoderClustering):
    """Deep Clustering with Self-Supervision: an autoencoder shaped cluster by cluster, then pairs judged by MNet.

    An autoencoder is pretrained and k-means started in its latent space u. Phase 1 minimises one loss a cluster, in
    successive steps, weighted by fuzzy memberships p. Phase 2 puts the small network MNet on the encoder and pulls
    pairs together or apart that p, and later MNet's own output q, find similar or dissimilar.

    Parameters
    ----------
    n_clusters : int, default=10
        Number of clusters K.
    network : str or nn.Module, default="auto"
        Autoencoder: "auto" (sized from the samples), a name in ``deepcluster_sk.networks.AUTOENCODERS``, or a module
        with the submodules ``encoder`` and ``decoder``. It is copied, never changed.
    encoder : nn.Module, scikit-learn transformer, method of ClustPy, or None, default=None
        A representation of your own, on which phase 2 works without pretraining and phase 1 (the paper's general
        framework). It is copied, never changed, and gets X as it is, neither scaled nor standardised. ``clone`` and
        searches make an estimator unfitted; ``sklearn.frozen.FrozenEstimator`` around it keeps its fit.

        - A module from samples, as float32 with channels first, to latent vectors (n, d), or a trained autoencoder, a
          module with the submodules ``encoder`` and ``decoder``. Phase 2 trains it at ``encoder_lr``.
        - An autoencoder that is not trained, together with ``pretrain_epochs``: it is trained as ``network`` would be,
          on scaled samples; only phase 1 is left out.
        - A method of ClustPy (DEC, IDEC, DCN, DKM, ...; ``pip install "deepcluster_sk[clustpy]"``): the network that it
          has trained, or, if it is not fitted, trains on X, as rows of float32. Phase 2 trains it further.
        - A scikit-learn transformer, fitted, or else fitted on X without labels: its vectors, made once, take the place
          of X, for ``metric`` too, and it is not trained. It gets images as rows, in the order (h, w, c).
    latent_dim : int, default=64
        Number of entries of the latent vector u of the built-in autoencoders; the authors take 10.
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
        Most epochs of each phase; None is no limit.
    pretrain_epochs, first_phase_epochs, second_phase_epochs : int or None, default=None
        Epochs of each phase; None grows shorter with n, 0 skips the phase. The authors take 200, 200 and 20.
    batch_size : int, default=256
        Least number of samples a step; the authors take 500.
    lr : float, default=3e-5
        Learning rate of MNet (Adam); the authors take 1e-3.
    first_phase_lr : float, default=1e-7
        Learning rate of phase 1 (SGD with momentum 0.9, on losses summed over samples and over pixels in
        [0, 1] or standardised features). The authors' 1e-6 can undo a start on larger images than digits.
    encoder_lr : float, default=3e-5
        Learning rate of the encoder in phase 2 (Adam). The authors' 1e-5 hardly moves it; more needs ``logit_scale``.
    tol : float, default=0.0
        The method's own phases end once less than this share of the labels changes from one look at them to the next;
        0 never ends them early.
    n_init : int, default=1
        Networks trained, each from a seed of its own; kept is one with the fewest empty clusters, of these one in which
        no cluster holds over 95 %, and of these the one whose clusters last best under random transforms
        (``augmentation_agreement``, less what chance gives), or, with ``augment=None``, that most often puts a sample
        with its nearest neighbours (:func:`~deepcluster_sk.metrics.neighbor_agreement_score`).
    fuzzifier : float, default=1.1
        m of the memberships, > 1. The paper's 1.5 leaves them so soft that clusters which overlap drift in phase 2.
    centering_weight : float, default=0.1
        Weight α of the distance to the centre in phase 1.
    cluster_losses : {"successive", "aggregated"}, default="successive"
        One step a cluster, or (DCSS_agg) as many steps on the sum of all clusters' losses.
    center_interval : int, default=2
        Epochs T1 of phase 1 between updates of the centres.
    second_phase : bool, default=True
        False is DCSSu: phase 1 alone, with the memberships as probabilities.
    logit_scale : float or None, default=1.5
        Standard deviation over the batch that MNet's logits start with, by a batch norm behind its last layer, lest
        clusters vanish while the encoder learns; None leaves it out, as the paper does.
    mnet_start_epochs : int or None, default=None
        Epochs in which MNet first learns the clusters of phase 1; None grows shorter with n, 0 starts it from random
        weights, as the paper does.
    membership_epochs : int, default=10
        Epochs T2 of phase 2 in which memberships judge the pairs, whatever ``tol``; the authors take 5. From some 7,300
        samples on, the default phase 2 has no more: left to judge itself, MNet loses what it had on 10,000 of MNIST.
    similar_threshold : float, default=0.8
        Inner product ζ from which two samples are adjacent, in [0, 1].
    dissimilar_threshold : float, default=0.2
        Inner product γ up to which two samples are dissimilar, in [0, similar_threshold].
    contrastive_weight : float, default=1.0
        Weight in pretraining of the contrastive loss, which draws neighbours together; 0 is none, as in the paper.
    n_neighbors : int or "auto", default="auto"
        Nearest neighbours that pretraining draws near each sample; "auto" is 5, or 0 for photographs (see the guide).
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
    module_ : DCSSNetwork
        Trained network in evaluation mode.
    history_ : list of dict
        One record an epoch: phase, epoch, loss, seconds, and from the method's own phases selected_share (share of
        pairs or samples that take part), cluster_sizes and label_change (share of labels changed since the last look).
    n_iter_ : int
        Number of epochs run, all phases together.
    n_samples_seen_ : int
        Samples of ``fit`` and of each ``partial_fit`` since.
    converged_ : bool
        Whether at most 1 % of the labels changed at the last look, or less than ``tol``; with ``second_phase``, only
        looks at MNet's own judgement count.
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
    encoder_ : estimator
        Where ``encoder`` is a transformer or a method of ClustPy: a copy, fitted; phase 2 leaves it alone.
    cluster_centers_ : ndarray of shape (n_clusters, latent_dim), float32
        Centres μ, as phase 1 left them, in the order of the labels unless ``mnet_start_epochs=0``.

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
        By ``fit``, where the loss explodes: the epoch is trained again at a tenth of the learning rate, once. And for
        thresholds under which the method's theorems do not hold: ζ <= 1/2, or γ >= ζ².

    See Also
    --------
    DACClustering, DCCMClustering : Without an autoencoder.

    Notes
    -----
    ``transform`` gives the latent vectors u: of a transformer as ``encoder``, its vectors, centred and divided by
    their overall standard deviation.

    References
    ----------
    Sadeghi and Armanfard, "Deep Clustering with Self-Supervision using Pairwise Similarities", 2024, Eqs. (1) to (5).
    The contrastive loss: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from deepcluster_sk import DCSSClustering
    >>> X = load_digits(n_class=3).images[:150]
    >>> dcss = DCSSClustering(n_clusters=3, max_epochs=20, random_state=0).fit(X)
    >>> dcss.labels_.shape, dcss.cluster_centers_.shape
    ((150,), (3, 64))
    """

    def __init__(
        self,
        n_clusters: int = 10,
        *,
        network: str | nn.Module = "auto",
        encoder: Any = None,
        latent_dim: int = 64,
        image_shape: tuple[int, ...] | None = None,
        image_size: int | tuple[int, int] | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        metric: Literal["auto", "cosine", "euclidean"] = "auto",
        augment: Any = "auto",
        max_epochs: int | None = None,
        pretrain_epochs: int | None = None,
        first_phase_epochs: int | None = None,
        second_phase_epochs: int | None = None,
        batch_size: int = 256,
        lr: float = 3e-5,
        first_phase_lr: float = 1e-7,
        encoder_lr: float = 3e-5,
        tol: float = 0.0,
        n_init: int = 1,
        fuzzifier: float = 1.1,
        centering_weight: float = 0.1,
        cluster_losses: Literal["successive", "aggregated"] = "successive",
        center_interval: int = 2,
        second_phase: bool = True,
        logit_scale: float | None = 1.5,
        mnet_start_epochs: int | None = None,
        membership_epochs: int = 10,
        similar_threshold: float = 0.8,
        dissimilar_threshold: float = 0.2,
        contrastive_weight: float = 1.0,
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
        self.encoder = encoder
        self.latent_dim = latent_dim
        self.image_shape = image_shape
        self.image_size = image_size
        self.on_error = on_error
        self.metric = metric
        self.augment = augment
        self.max_epochs = max_epochs
        self.pretrain_epochs = pretrain_epochs
        self.first_phase_epochs = first_phase_epochs
        self.second_phase_epochs = second_phase_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.first_phase_lr = first_phase_lr
        self.encoder_lr = encoder_lr
        self.tol = tol
        self.n_init = n_init
        self.fuzzifier = fuzzifier
        self.centering_weight = centering_weight
        self.cluster_losses = cluster_losses
        self.center_interval = center_interval
        self.second_phase = second_phase
        self.logit_scale = logit_scale
        self.mnet_start_epochs = mnet_start_epochs
        self.membership_epochs = membership_epochs
        self.similar_threshold = similar_threshold
        self.dissimilar_threshold = dissimilar_threshold
        self.contrastive_weight = contrastive_weight
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
        check_number("latent_dim", self.latent_dim, int, 1)
        check_number("first_phase_lr", self.first_phase_lr, float, 0, low_open=True)
        check_number("encoder_lr", self.encoder_lr, float, 0)
        check_number("fuzzifier", self.fuzzifier, float, 1, low_open=True)
        check_number("centering_weight", self.centering_weight, float, 0)
        check_choice("cluster_losses", self.cluster_losses, ("successive", "aggregated"))
        check_number("center_interval", self.center_interval, int, 1)
        check_number("logit_scale", self.logit_scale, float, 0, low_open=True, besides=(None,))
        check_choice("second_phase", self.second_phase, (True, False))
        check_number("membership_epochs", self.membership_epochs, int, 0)
        check_number("similar_threshold", self.similar_threshold, float, 0, 1)
        check_number("dissimilar_threshold", self.dissimilar_threshold, float, 0, 1)
        check_number("contrastive_weight", self.contrastive_weight, float, 0)
        self._check_encoder()
        check_thresholds(self.similar_threshold, self.dissimilar_threshold)

    def _phases(self, n_samples: int) -> dict[str, int]:
        phases = {
            "pretraining": self._n_epochs("pretrain_epochs", n_samples, at_500=60),
            "phase 1": self._n_epochs("first_phase_epochs", n_samples, at_500=8),
            "label start": self._n_epochs("mnet_start_epochs", n_samples, at_500=40),
            "phase 2": self._n_epochs("second_phase_epochs", n_samples, at_500=40),
        }
        if self.encoder is not None:
            phases["phase 1"] = 0
        if not self._pretrains():
            phases["pretraining"] = 0
        if not self.second_phase or phases["phase 2"] == 0:
            phases |= {"label start": 0, "phase 2": 0}
        return phases

    def _train(self, network: DCSSNetwork, samples: ArraySamples, runtime: Runtime, monitor: Monitor) -> bool:
        phases = self._phases(len(samples))
        if phases["pretraining"]:
            pretrain(
                network,
                samples,
                n_epochs=phases["pretraining"],
                contrastive_weight=self.contrastive_weight,
                n_neighbors=self.n_neighbors,
                temperature=self.temperature,
                runtime=runtime,
                monitor=monitor,
            )
        settle_batch_norm(network, samples, runtime)
        find_centers = partial(kmeans_centers, network, network.encode, samples, self.n_clusters, runtime)
        network.centers.copy_(monitor.once("centers", find_centers))
        network.uses_mnet = False
        converged = False
        if phases["phase 1"]:
            converged = train_autoencoder(
                network,
                samples,
                n_epochs=phases["phase 1"],
                centering_weight=self.centering_weight,
                cluster_losses=self.cluster_losses,
                center_interval=self.center_interval,
                lr=self.first_phase_lr,
                tol=self.tol,
                runtime=runtime,
                monitor=monitor,
            )
        if not phases["phase 2"] or monitor.stopped:
            return converged and not phases["phase 2"]
        labels = update_centers(network, samples, runtime)
        network.uses_mnet = True
        learn_labels(
            network,
            lambda batch: network.mnet(network.encode(batch).detach()),
            network.mnet.parameters(),
            samples,
            labels,
            self.n_clusters,
            n_epochs=phases["label start"],
            runtime=runtime,
            monitor=monitor,
        )
        return train_mnet(
            network,
            samples,
            n_epochs=phases["phase 2"],
            membership_epochs=self.membership_epochs,
            similar_threshold=self.similar_threshold,
            dissimilar_threshold=self.dissimilar_threshold,
            encoder_lr=self.encoder_lr,
            lr=self.lr,
            tol=self.tol,
            runtime=runtime,
            monitor=monitor,
        )

    def _learners(self, network: DCSSNetwork) -> list[nn.Parameter]:
        encoder = [each for each in network.encoder.parameters() if each.requires_grad]
        if not network.uses_mnet:
            return encoder
        return [*(encoder if self.encoder_lr > 0 else ()), *network.mnet.parameters()]

    def _fitted_attributes(self, module: DCSSNetwork, samples: ArraySamples, order: Sequence[int]) -> dict[str, Any]:
        centers = module.centers.cpu().numpy()[np.asarray(order)]
        return {**super()._fitted_attributes(module, samples, order), "cluster_centers_": centers}

    def _represent(self, network: DCSSNetwork, batch: Tensor) -> tuple[Tensor, Tensor]:
        latent = network.encode(batch)
        return latent, network.cluster_proba(latent)
