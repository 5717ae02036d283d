"""An embedding in two dimensions, as displays and reports draw it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE


def project(embedding: NDArray[Any], method: str, random_state: Any = 0) -> tuple[NDArray[Any], float | None]:
    """Two coordinates of each sample.

    Parameters
    ----------
    embedding : ndarray of shape (n, d), float
    method : {"pca", "tsne"}
    random_state : int, RandomState or None, default=0
        Seeds t-SNE.

    Returns
    -------
    positions : ndarray of shape (n, 2), float
        0 along an axis that the embedding does not have, and wherever all samples are the same.
    explained : float or None
        Share of the variance that two principal components hold; None for t-SNE, and where there is no variance.
    """
    positions = np.zeros((len(embedding), 2))
    if len(embedding) < 2 or not np.ptp(embedding, axis=0).any():
        return positions, None
    if method == "tsne":
        perplexity = min(30.0, (len(embedding) - 1) / 3)
        init = "pca" if embedding.shape[1] > 1 else "random"
        return TSNE(perplexity=perplexity, init=init, random_state=random_state).fit_transform(embedding), None
    # Other solvers draw random numbers for large embeddings.
    pca = PCA(n_components=min(2, *embedding.shape), svd_solver="full")
    projected = pca.fit_transform(embedding.astype(np.float64))
    positions[:, : projected.shape[1]] = projected
    return positions, float(pca.explained_variance_ratio_.sum())
