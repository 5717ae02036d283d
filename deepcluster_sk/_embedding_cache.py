"""Where embeddings are put as they are made: in memory, or on the disk, so that a run that was killed goes on there."""

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepcluster_sk._checkpoint import write_bytes
from deepcluster_sk._validation import level_of_caller
from deepcluster_sk.exceptions import CheckpointWarning

# Rows that are written together.
_TOGETHER = 1024


class RowsInMemory:
    """Rows of an array, part by part.

    Attributes
    ----------
    unreadable : dict of int to str
        What is wrong with the files of rows that are missing.
    n_columns : int
    dtype : dtype
    """

    def __init__(self, n_rows: int, n_columns: int, dtype: str) -> None:
        self.unreadable: dict[int, str] = {}
        self.n_columns, self.dtype = n_columns, np.dtype(dtype)
        self._rows = np.empty((n_rows, n_columns), dtype)

    def pending(self) -> list[range]:
        """Numbers of the rows that are still to be put, in parts."""
        return _parts(len(self._rows))

    def put(self, part: range, rows: NDArray[Any], unreadable: Mapping[int, str]) -> None:
        """Take one part, of which some rows may be missing."""
        self._rows[part.start : part.stop] = rows
        self.unreadable.update(unreadable)

    def result(self) -> NDArray[Any]:
        """All rows."""
        return self._rows


class RowsOnDisk:
    """The same in a folder, which holds embeddings.npy once all rows are there, and before embeddings.npy.partial.

    A part counts as done when its SHA-256 is in progress.json, which is written after it.
    """

    def __init__(self, folder: Path, n_rows: int, n_columns: int, dtype: str) -> None:
        self._whole, self._partial = folder / "embeddings.npy", folder / "embeddings.npy.partial"
        self._record = folder / "progress.json"
        self.n_columns, self.dtype = n_columns, np.dtype(dtype)
        self._shape = n_rows, n_columns
        self._done: dict[str, str] = {}
        self.unreadable: dict[int, str] = {}
        found = self._whole if self._whole.exists() else self._partial
        if found.exists() or self._record.exists():
            self._take_up(found)
        if self._whole.exists() and self.pending():
            self._whole.replace(self._partial)
        if not (self._whole.exists() or self._done):
            self._whole.unlink(missing_ok=True)
            np.lib.format.open_memmap(self._partial, "w+", self.dtype, self._shape)

    def pending(self) -> list[range]:
        """Numbers of the rows that are still to be put, in parts."""
        return [part for part in _parts(self._shape[0]) if str(part.start) not in self._done]

    def put(self, part: range, rows: NDArray[Any], unreadable: Mapping[int, str]) -> None:
        """Write one part. By the file, as a full disk would kill the process that writes by a memory map."""
        content = np.ascontiguousarray(rows, self.dtype).tobytes()
        start = np.load(self._partial, mmap_mode="r").offset
        with self._partial.open("r+b") as file:
            file.seek(start + part.start * self._shape[1] * self.dtype.itemsize)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._done[str(part.start)] = hashlib.sha256(content).hexdigest()
        self.unreadable.update(unreadable)
        record = {"parts": self._done, "unreadable": self.unreadable}
        write_bytes(self._record, json.dumps(record).encode())

    def result(self) -> NDArray[Any]:
        """All rows, as a memory map that is only read."""
        if not self._whole.exists():
            self._partial.replace(self._whole)
        return np.load(self._whole, mmap_mode="r")

    def _take_up(self, path: Path) -> None:
        """Find out which parts are done and as they were written."""
        try:
            record = json.loads(self._record.read_text())
            done, unreadable = dict(record["parts"]), dict(record["unreadable"])
            rows = np.load(path, mmap_mode="r")
            if rows.shape != self._shape or rows.dtype != self.dtype:
                raise ValueError(f"it holds {rows.dtype} {rows.shape}, and not {self.dtype} {self._shape}")
        except (OSError, ValueError, LookupError, TypeError) as error:
            if not isinstance(error, FileNotFoundError):  # a run that was killed before its first part
                _warn(f"{path} is damaged ({error}). All of it is made anew.")
            for leftover in (self._whole, self._partial, self._record):
                with suppress(OSError):
                    leftover.unlink()
            return
        self._done = {
            str(part.start): digest
            for part in _parts(len(rows))
            if (digest := done.get(str(part.start)))
            == hashlib.sha256(rows[part.start : part.stop].tobytes()).hexdigest()
        }
        self.unreadable = {int(i): str(reason) for i, reason in unreadable.items()}
        if damaged := len(done) - len(self._done):
            _warn(f"{path} has {damaged} part(s) of {_TOGETHER} rows that are damaged. They are made anew.")


def _parts(n_rows: int) -> list[range]:
    return [range(start, min(start + _TOGETHER, n_rows)) for start in range(0, n_rows, _TOGETHER)]


def _warn(what: str) -> None:
    warnings.warn(f"cache: {what}", CheckpointWarning, stacklevel=level_of_caller())
