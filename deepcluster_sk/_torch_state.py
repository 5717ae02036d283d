"""Torch's global state: during a fit as training needs it, afterwards as the caller had it, and in forked processes."""

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from threadpoolctl import threadpool_limits

# Torch's random generators and default dtype are one for all threads, so fits in threads take turns.
_turn = threading.RLock()
# Whether this process has computed, so that torch and scikit-learn may have threads that wait for more to do.
_has_computed = False


def _outlive_fork() -> None:
    """In a process that was just forked: do not wait for threads that only the process before has.

    Another thread's turn would never end there, and OpenMP would wait for its idle threads without end.
    """
    global _turn
    _turn = threading.RLock()
    if _has_computed:
        torch.set_num_threads(1)
        threadpool_limits(1, "openmp")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_outlive_fork)


def computing() -> AbstractContextManager[Any]:
    """Around all that computes, which forked processes are to know of: what is made without a device is on the CPU."""
    global _has_computed
    _has_computed = True
    cpu = torch.device("cpu")
    return nullcontext() if torch.get_default_device() == cpu else cpu  # within a device, every call costs more


@contextmanager
def own_torch_state(device: torch.device) -> Iterator[None]:
    """Gradients on, no autocast, float32 and the CPU by default, and random draws that the caller's do not notice."""
    every_gpu = range(torch.cuda.device_count())  # torch.manual_seed seeds them all, used or not
    with (
        _turn,
        computing(),
        torch.random.fork_rng(devices=every_gpu),
        torch.inference_mode(False),
        torch.enable_grad(),
        # Contexts within this one would else keep weights they have converted, however often these change.
        torch.autocast(device.type, enabled=False, cache_enabled=False),
    ):
        dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
