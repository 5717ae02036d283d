"""Checkpoints: what a fit writes as it goes, so that one that was killed goes on where it was.

``checkpoint_dir`` holds a folder for each fingerprint, which is the method, its parameters, the data and the versions;
in it is one for each restart. A file is its SHA-256 and then what ``torch.save`` makes of tensors and plain values. It
is written beside the one it replaces, and that one is kept, so that there is a whole one at every moment.
"""

import hashlib
import io
import json
import os
import pickle
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepcluster_sk._distributed import ALONE, Ranks
from deepcluster_sk._validation import level_of_caller
from deepcluster_sk.exceptions import CheckpointWarning

try:
    import fcntl
except ImportError:  # not on Windows, where two fits of the same at once are not kept apart
    fcntl = None  # type: ignore[assignment]

_DIGEST_SIZE = hashlib.sha256().digest_size
# What torch.load raises for content that torch.save did not make.
_UNREADABLE = pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError


def write(path: Path, content: Any) -> None:
    """Put ``content`` into a file, whole or not at all; the file it replaces is kept as NAME.previous."""
    buffer = io.BytesIO()
    torch.save(plain(content), buffer)
    payload = buffer.getbuffer()
    write_bytes(path, hashlib.sha256(payload).digest(), payload, keep_previous=True)


def write_bytes(path: Path, *parts: bytes | memoryview, keep_previous: bool = False) -> None:
    """Put bytes into a file, whole or not at all, and onto the disk."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        if keep_previous and path.exists():
            path.replace(_previous(path))
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def plain(content: Any) -> Any:
    """Numbers of NumPy as numbers of Python, wherever they are, since only these are read again."""
    if isinstance(content, np.generic):
        return content.item()
    if isinstance(content, dict):
        return {plain(key): plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(map(plain, content))
    return content


def read(path: Path) -> Any:
    """What was written last and is whole, or None; what is damaged is put aside as NAME.damaged."""
    for candidate in (path, _previous(path)):
        try:
            content = candidate.read_bytes()
        except FileNotFoundError:
            continue
        except OSError:  # a folder, or not for us
            content = b""
        digest, payload = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
        if hashlib.sha256(payload).digest() == digest:
            with suppress(*_UNREADABLE):
                return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        message = f"Checkpoint {candidate} is damaged; going on without it."
        warnings.warn(message, CheckpointWarning, stacklevel=level_of_caller())
        with suppress(OSError):
            candidate.replace(candidate.with_name(candidate.name + ".damaged"))
    return None


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")


def _sync(folder: Path) -> None:
    """Make the names in a folder last, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        with suppress(OSError):
            os.fsync(descriptor)
        os.close(descriptor)


def parse_interval(checkpoint_every: object) -> tuple[float, int | None]:
    """Seconds, and epochs or None, that ``checkpoint_every`` stands for.

    Raises
    ------
    TypeError, ValueError
        If it is neither a number of seconds nor "N epochs".
    """
    needed = "must be a number of seconds >= 0, or a string such as '1 epoch' or '5 epochs'"
    if isinstance(checkpoint_every, str):
        match = re.fullmatch(r"([1-9]\d*) epochs?", checkpoint_every)
        if match is None:
            raise ValueError(f"checkpoint_every={checkpoint_every!r} {needed}.")
        return float("inf"), int(match.group(1))
    if isinstance(checkpoint_every, bool) or not isinstance(checkpoint_every, int | float | np.number):
        raise TypeError(f"checkpoint_every={checkpoint_every!r} {needed}, got {type(checkpoint_every).__name__}.")
    if not checkpoint_every >= 0:
        raise ValueError(f"checkpoint_every={checkpoint_every!r} {needed}.")
    return float(checkpoint_every), None


class Journal:
    """Checkpoints of one restart, in a folder of its own.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    interval : tuple of float and (int or None)
        Seconds, and epochs, between checkpoints, as :func:`parse_interval` gives them.
    ranks : Ranks
        The processes of the fit, of which the first reads for all, and alone writes.
    """

    def __init__(self, folder: Path, interval: tuple[float, int | None], ranks: Ranks = ALONE) -> None:
        self.folder, self._ranks = folder, ranks
        self._seconds, self._epochs = interval
        self._saved_at = time.monotonic()
        self._may_write = True
        self._values: dict[str, Any] | None = None
        if ranks.is_first:
            with suppress(OSError):  # the first write says so
                folder.mkdir(parents=True, exist_ok=True)

    def last(self) -> Any:
        """State that the last checkpoint holds, or None."""
        return self._read("state.ckpt")

    def is_due(self, epoch: int, at_end_of_epoch: bool) -> bool:
        """Whether it is time for a checkpoint."""
        if not self._ranks.is_first:
            return False
        if self._epochs is not None:
            return at_end_of_epoch and (epoch + 1) % self._epochs == 0
        return time.monotonic() - self._saved_at >= self._seconds

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint. If that fails, training goes on with a warning, and the one before stays."""
        self._write("state.ckpt", state)
        self._saved_at = time.monotonic()

    def value(self, name: str) -> Any:
        """What was kept under a name, or None."""
        if self._values is None:
            self._values = self._read("values.ckpt") or {}
        return self._values.get(name)

    def keep(self, name: str, value: Any) -> None:
        """Keep a value that is found once a run."""
        self._values = {**(self._values or {}), name: value}
        self._write("values.ckpt", self._values)

    def finished(self) -> Any:
        """Result of the restart, if it came to its end, or None."""
        return self._read("finished.ckpt")

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result of the restart, which takes the place of its checkpoints."""
        if self._write("finished.ckpt", result):
            for name in ("state.ckpt", "values.ckpt"):
                for path in (self.folder / name, _previous(self.folder / name)):
                    with suppress(OSError):
                        path.unlink(missing_ok=True)

    def _read(self, name: str) -> Any:
        return self._ranks.from_first(lambda: read(self.folder / name))

    def _write(self, name: str, content: Any) -> bool:
        if not self._ranks.is_first:
            return False
        try:
            write(self.folder / name, content)
        except OSError as error:
            if self._may_write:
                warnings.warn(
                    f"Checkpoint {self.folder / name} could not be written ({error}). Training goes on, and the one "
                    "before, if there is one, stays.",
                    CheckpointWarning,
                    stacklevel=level_of_caller(),
                )
            self._may_write = False  # said once
            return False
        self._may_write = True
        return True


class Folder:
    """Folder of one fit: a journal for each restart, and the seed.

    Parameters
    ----------
    path : Path
        There already.
    interval, ranks
        As for :class:`Journal`.
    """

    def __init__(self, path: Path, interval: tuple[float, int | None], ranks: Ranks = ALONE) -> None:
        self._path, self._interval, self._ranks = path, interval, ranks

    def seed(self, drawn: int) -> int:
        """Seed that the fit began with, which is ``drawn`` if it begins now."""
        journal = Journal(self._path, self._interval, self._ranks)
        kept = journal.value("seed")
        if kept is None:
            journal.keep("seed", drawn)
        return drawn if kept is None else int(kept)

    def journal(self, restart: int) -> Journal:
        """Journal of a restart."""
        return Journal(self._path / f"restart-{restart}", self._interval, self._ranks)


@contextmanager
def opened(
    checkpoint_dir: Any, checkpoint_every: Any, mark: Callable[[], dict[str, Any]], ranks: Ranks = ALONE
) -> Iterator[Folder | None]:
    """Folder of the fit with the fingerprint that ``mark`` gives; None if there is to be none.

    A process that fits the same waits for the one that began, and then finds its result.

    Raises
    ------
    ValueError
        If nothing can be written there, or the folder turns out to be of another fit.
    """
    if checkpoint_dir is None:
        yield None
        return
    with ExitStack() as stack:  # rank 0 claims the folder for all
        path = ranks.from_first(lambda: stack.enter_context(claimed("checkpoint_dir", checkpoint_dir, mark())))
        yield Folder(path, parse_interval(checkpoint_every), ranks)


@contextmanager
def claimed(parameter: str, directory: Any, wanted: dict[str, Any]) -> Iterator[Path]:
    """Folder in ``directory`` for the work with this fingerprint, which no other process has meanwhile.

    Raises
    ------
    ValueError
        If nothing can be written there, or the folder turns out to be of other work; it names the ``parameter``.
    """
    text, refused = json.dumps(wanted, indent=1), f"{parameter}={directory!r} must be a folder to write to"
    path = Path(directory) / f"{wanted['method']}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / "lock").open("w")
    except OSError as error:
        raise ValueError(f"{refused}: {error}") from error
    with lock:
        if fcntl is not None:
            with suppress(OSError):  # some network file systems have no locks
                fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if not (path / "fingerprint.json").exists():
                write_bytes(path / "fingerprint.json", text.encode())
        except OSError as error:
            raise ValueError(f"{refused}: {error}") from error
        _check_fingerprint(parameter, path, text)
        yield path


def _check_fingerprint(parameter: str, folder: Path, text: str) -> None:
    refused = f"{parameter}: {folder} holds other work than its name says"
    wanted = json.loads(text)
    try:
        found = dict(json.loads((folder / "fingerprint.json").read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{refused}: fingerprint.json cannot be read ({error}). Move the folder away.") from error
    for key in {**wanted, **found}:
        if found.get(key) != wanted.get(key):
            raise ValueError(
                f"{refused}: {key} is {found.get(key)!r} there and {wanted.get(key)!r} here. Move the folder away."
            )
