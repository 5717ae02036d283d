"""Warnings of the package."""

from collections.abc import Mapping
from typing import Any

from sklearn.exceptions import ConvergenceWarning

__all__ = ["CheckpointWarning", "CollapseWarning", "InstabilityWarning", "ShortcutWarning", "UnreadableImageWarning"]


class CollapseWarning(ConvergenceWarning):
    """Fewer clusters are used than were asked for, or one holds nearly all samples.

    Examples
    --------
    >>> import warnings
    >>> from deepcluster_sk.exceptions import CollapseWarning
    >>> warnings.simplefilter("error", CollapseWarning)  # stop instead of warn
    """


class InstabilityWarning(ConvergenceWarning):
    """Samples seldom keep their cluster under a random transform, so the clusters say little about X.

    Less than a third of the way from what chance gives to all of them.

    Examples
    --------
    >>> import warnings
    >>> from deepcluster_sk.exceptions import InstabilityWarning
    >>> warnings.simplefilter("error", InstabilityWarning)  # stop instead of warn
    """


class ShortcutWarning(UserWarning):
    """Light and colours alone tell most images' clusters, so these may be of nothing that the images show.

    Clusters of photographs are then of the ground, say, instead of what is on it. There is no such warning where there
    are fewer than four clusters.

    Examples
    --------
    >>> import warnings
    >>> from deepcluster_sk.exceptions import ShortcutWarning
    >>> warnings.simplefilter("ignore", ShortcutWarning)  # where the clusters are to be of colours
    """


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written, or is damaged; training goes on all the same.

    Examples
    --------
    >>> import warnings
    >>> from deepcluster_sk.exceptions import CheckpointWarning
    >>> warnings.simplefilter("error", CheckpointWarning)  # stop instead of warn
    """


class UnreadableImageWarning(UserWarning):
    """Image files cannot be read, and are left out because ``on_error="skip"``.

    Parameters
    ----------
    message : str
    unreadable : dict of str to str
        Path of each of these files, and what is wrong with it.

    Examples
    --------
    >>> import warnings
    >>> from deepcluster_sk.exceptions import UnreadableImageWarning
    >>> warnings.simplefilter("ignore", UnreadableImageWarning)  # the attribute unreadable_ names them all the same
    """

    def __init__(self, message: str, unreadable: Mapping[str, str]) -> None:
        super().__init__(message)
        self.unreadable = dict(unreadable)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.unreadable)
