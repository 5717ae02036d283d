"""Estimators from files."""

import os
from pathlib import Path
from typing import Any

from deepcluster_sk import _persistence
from deepcluster_sk._base import BaseDeepClustering
from deepcluster_sk._dac import DACClustering
from deepcluster_sk._dccm import DCCMClustering
from deepcluster_sk._dcss import DCSSClustering

# Where the command puts its model, within the folder of its result.
MODEL = "model/model.safetensors"
_CLASSES = {kind.__name__: kind for kind in (DACClustering, DCCMClustering, DCSSClustering)}


def load(path: str | os.PathLike[str], **own: Any) -> BaseDeepClustering:
    """Load an estimator that was written by its method ``save``. Nothing in the file is run, whoever wrote it.

    Parameters
    ----------
    path : path-like
        The file, or a folder that the command ``deepcluster-sk cluster`` made.
    **own : object
        Parameters that were objects of your own when it was fitted, such as ``network=`` a module or ``augment=`` a
        function: files do not hold code. A network's weights are replaced by those of the file.

    Returns
    -------
    estimator : DACClustering, DCCMClustering or DCSSClustering
        Fitted, on the CPU wherever it was trained. It predicts what it predicted when it was saved.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, was not written by ``save``, is of a later format, or an object of your own is missing.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_digits
    >>> from deepcluster_sk import DACClustering, load
    >>> X = load_digits(n_class=3).images[:150]
    >>> dac = DACClustering(n_clusters=3, max_epochs=2, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dac.save(Path(folder) / "digits.safetensors")
    ...     again = load(Path(folder) / "digits.safetensors")
    >>> bool((again.predict(X) == dac.labels_).all())
    True
    """
    if Path(path).is_dir():
        inside = [Path(path) / MODEL, Path(path) / Path(MODEL).name]
        path = inside[1] if inside[1].is_file() else inside[0]
    return _persistence.load(path, _CLASSES, own)
