"""Warnings of the package."""

from sklearn.exceptions import ConvergenceWarning

__all__ = ["CollapseWarning"]


class CollapseWarning(ConvergenceWarning):
    """Fewer clusters are used than were asked for, or one holds nearly all samples.

    Examples
    --------
    >>> import warnings
    >>> from deepcluster_sk.exceptions import CollapseWarning
    >>> warnings.simplefilter("error", CollapseWarning)  # stop instead of warn
    """
