"""Ctrl-C and SIGTERM during a fit: noted, and obeyed between two batches."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class StopRequest:
    """Whether the process was asked to stop, and what to do then.

    Attributes
    ----------
    keep : bool
        Whether training just ends, with what it learnt so far; else the signal has its usual effect.
    signal : int or None
        The signal that came.
    """

    keep: bool = False
    signal: int | None = None

    def obey(self) -> None:
        """Raise what the signal usually raises, unless what was learnt is to be kept."""
        if self.keep or self.signal is None:
            return
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.signal)


@contextmanager
def noting_signals(request: StopRequest) -> Iterator[None]:
    """Note the first Ctrl-C or SIGTERM in ``request``; the next has its usual effect.

    Signals whose handling the caller changed, and threads other than the main one, which get none, are left alone.
    """
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = number
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)
        before.clear()

    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if signal.getsignal(number) == usual[number]:
                before[number] = signal.signal(number, note)
    try:
        yield
    finally:
        restore()
    request.obey()  # what came behind the last batch
