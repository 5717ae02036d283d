"""The discriminator of DCCM's mutual information."""

from torch import Tensor, nn


class LocalDiscriminator(nn.Module):
    """Scores whether a deep vector and a shallow map come from the same image, at every position of the map.

    Three 1x1 convolutions, (shallow + deep) → hidden → hidden → 1, ReLU between, no bias. The first is applied to the
    two parts separately and added, W [s; d] = W_s s + W_d d, so that each image is projected once however many pairs it
    is in.

    Parameters
    ----------
    shallow_dim : int
        Channels of the shallow map.
    deep_dim : int
        Length of the deep vector.
    hidden_dim : int, default=512
        Width of the two hidden layers.

    References
    ----------
    Wu et al., "Deep Comprehensive Correlation Mining for Image Clustering", ICCV 2019, T in Eq. (13).

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.networks import LocalDiscriminator
    >>> discriminator = LocalDiscriminator(shallow_dim=3, deep_dim=2)
    >>> shallow, deep = discriminator.project(torch.zeros(4, 3, 5, 5), torch.zeros(4, 2))
    >>> discriminator(deep[[0, 1]], shallow[[1, 0]]).shape  # two pairs, 25 positions
    torch.Size([2, 25])
    """

    def __init__(self, shallow_dim: int, deep_dim: int, hidden_dim: int = 512) -> None:
        super().__init__()
        self.shallow_projection = nn.Linear(shallow_dim, hidden_dim, bias=False)
        self.deep_projection = nn.Linear(deep_dim, hidden_dim, bias=False)
        self.hidden = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.score = nn.Linear(hidden_dim, 1, bias=False)

    def project(self, shallow: Tensor, deep: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the two halves of the first layer, once an image.

        Parameters
        ----------
        shallow : Tensor of shape (n, shallow_dim, h, w) or (n, shallow_dim)
            Shallow maps; a vector is a map of one position.
        deep : Tensor of shape (n, deep_dim)
            Deep vectors.

        Returns
        -------
        shallow_projected : Tensor of shape (n, n_positions, hidden_dim)
        deep_projected : Tensor of shape (n, 1, hidden_dim)
        """
        maps = shallow.reshape(*shallow.shape[:2], -1)  # (n, c, h * w)
        return self.shallow_projection(maps.transpose(1, 2)), self.deep_projection(deep)[:, None]

    def forward(self, deep_projected: Tensor, shallow_projected: Tensor) -> Tensor:
        """Score pairs of projected vectors and maps.

        Parameters
        ----------
        deep_projected : Tensor of shape (n_pairs, 1, hidden_dim)
            Deep part of each pair.
        shallow_projected : Tensor of shape (n_pairs, n_positions, hidden_dim)
            Shallow part of each pair.

        Returns
        -------
        scores : Tensor of shape (n_pairs, n_positions)
            Large where the pair seems to belong together.
        """
        hidden = self.hidden((deep_projected + shallow_projected).relu_()).relu_()
        return self.score(hidden)[..., 0]
