"""MNet, and the network of DCSS: it, an autoencoder and cluster centres."""

from typing import Self

import torch
from torch import Tensor, nn

from deepcluster_sk.networks._layers import (
    MODULE_ERRORS,
    Shape,
    Standardize,
    dense,
    normed_classifier,
    output_shape,
)
from deepcluster_sk.pairs import fuzzy_memberships


def build_mnet(latent_dim: int, n_clusters: int, logit_scale: float | None = None) -> nn.Sequential:
    """MNet of DCSS: latent - 128 - 128 - n_clusters with batch norm and ReLU; gives logits.

    Parameters
    ----------
    latent_dim : int
        Length of the latent vector u.
    n_clusters : int
        Number of outputs.
    logit_scale : float or None, default=None
        Standard deviation over the batch that each logit starts with, by a batch norm behind the last layer; None
        leaves that out, as the paper does.

    Returns
    -------
    mnet : nn.Sequential
        Maps (n, latent_dim) to (n, n_clusters).

    References
    ----------
    Sadeghi and Armanfard, "Deep Clustering with Self-Supervision using Pairwise Similarities", 2024, Section 3.2.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.networks import build_mnet
    >>> build_mnet(10, 3)(torch.zeros(2, 10)).shape
    torch.Size([2, 3])
    """
    last = nn.Linear(128, n_clusters) if logit_scale is None else normed_classifier(128, n_clusters, logit_scale)
    return nn.Sequential(dense(latent_dim, 128), dense(128, 128), last)


class DCSSNetwork(nn.Module):
    """Encoder, decoder, cluster centres and MNet.

    Parameters
    ----------
    encoder : nn.Module
        Maps standardised samples to latent vectors (n, latent_dim).
    decoder : nn.Module or None
        Back again; None where the encoder was trained elsewhere.
    sample_shape : tuple of int
        (c, h, w) of images, (n_features,) of feature vectors.
    n_clusters : int
        Number of centres and of MNet's outputs.
    fuzzifier : float
        m of the memberships.
    logit_scale : float or None, default=None
        As in :func:`build_mnet`.
    trains_encoder : bool, default=True
        Whether the encoder goes into training mode with the rest.

    Attributes
    ----------
    centers : Tensor of shape (n_clusters, latent_dim)
        Cluster centres in the latent space.
    uses_mnet : bool
        Whether the cluster probabilities are MNet's output, or else the memberships.

    Raises
    ------
    ValueError
        If the encoder does not give one vector a sample.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from deepcluster_sk.networks import DCSSNetwork
    >>> network = DCSSNetwork(nn.Linear(4, 2), None, sample_shape=(4,), n_clusters=3, fuzzifier=1.5)
    >>> network(torch.zeros(5, 4)).shape
    torch.Size([5, 3])
    """

    centers: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module | None,
        *,
        sample_shape: Shape,
        n_clusters: int,
        fuzzifier: float,
        logit_scale: float | None = None,
        trains_encoder: bool = True,
    ) -> None:
        super().__init__()
        needed = f"encoder={type(encoder).__name__} must give a vector for a sample of shape {sample_shape}"
        try:
            latent_shape = output_shape(encoder, sample_shape)
        except MODULE_ERRORS as error:
            raise ValueError(f"{needed}; it raised: {error}") from error
        if len(latent_shape) != 1:
            raise ValueError(f"{needed}; it gives shape {latent_shape}.")
        self.standardize = Standardize(sample_shape[0])
        self.encoder = encoder
        self.decoder: nn.Module = decoder if decoder is not None else nn.Identity()
        self.mnet = build_mnet(latent_shape[0], n_clusters, logit_scale)
        self.fuzzifier = fuzzifier
        self.trains_encoder = trains_encoder
        self.uses_mnet = True
        self.register_buffer("centers", torch.zeros(n_clusters, latent_shape[0]))

    def train(self, mode: bool = True) -> Self:
        """Set the mode; an encoder that is left as it is stays in evaluation mode.

        Parameters
        ----------
        mode : bool, default=True
            Training, or else evaluation.

        Returns
        -------
        self : DCSSNetwork
        """
        super().train(mode)
        self.encoder.train(mode and self.trains_encoder)
        return self

    def get_extra_state(self) -> bool:
        """What a state dict holds beside tensors.

        Returns
        -------
        uses_mnet : bool
        """
        return self.uses_mnet

    def set_extra_state(self, state: bool) -> None:
        """Take up what :meth:`get_extra_state` gave.

        Parameters
        ----------
        state : bool
            ``uses_mnet``.
        """
        self.uses_mnet = state

    def autoencoder_parameters(self) -> list[nn.Parameter]:
        """Parameters of encoder and decoder.

        Returns
        -------
        parameters : list of nn.Parameter
        """
        return [*self.encoder.parameters(), *self.decoder.parameters()]

    def encode(self, batch: Tensor) -> Tensor:
        """Latent vectors u.

        Parameters
        ----------
        batch : Tensor of shape (n, c, h, w) or (n, n_features), float32
            Images in [0, 1], or feature vectors.

        Returns
        -------
        latent : Tensor of shape (n, latent_dim)
        """
        return self.encoder(self.standardize(batch))

    def memberships(self, latent: Tensor) -> Tensor:
        """Memberships p of latent vectors in the clusters, Eq. (2).

        Parameters
        ----------
        latent : Tensor of shape (n, latent_dim)
            Latent vectors.

        Returns
        -------
        memberships : Tensor of shape (n, n_clusters), float32, rows sum to 1
        """
        return fuzzy_memberships(latent, self.centers, self.fuzzifier)

    def cluster_proba(self, latent: Tensor) -> Tensor:
        """Probabilities of the clusters: MNet's softmax q, or the memberships p before MNet is trained.

        Parameters
        ----------
        latent : Tensor of shape (n, latent_dim)
            Latent vectors.

        Returns
        -------
        proba : Tensor of shape (n, n_clusters), float32, rows sum to 1
        """
        return self.mnet(latent).softmax(1) if self.uses_mnet else self.memberships(latent)

    def forward(self, batch: Tensor) -> Tensor:
        """Probabilities of the clusters.

        Parameters
        ----------
        batch : Tensor of shape (n, c, h, w) or (n, n_features), float32
            Images in [0, 1], or feature vectors.

        Returns
        -------
        proba : Tensor of shape (n, n_clusters), float32, rows sum to 1
        """
        return self.cluster_proba(self.encode(batch))
