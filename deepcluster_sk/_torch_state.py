"""Torch's global state during a fit: as training needs it, and afterwards as the caller had it."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

# Torch's random generators and default dtype are one for all threads, so fits in threads take turns.
_turn = threading.RLock()


def cpu_by_default() -> AbstractContextManager[Any]:
    """What is made without a device is on the CPU within, which costs nothing where it is so anyway."""
    cpu = torch.device("cpu")
    return nullcontext() if torch.get_default_device() == cpu else cpu


@contextmanager
def own_torch_state(device: torch.device) -> Iterator[None]:
    """Gradients on, no autocast, float32 and the CPU by default, and random draws that the caller's do not notice."""
    every_gpu = range(torch.cuda.device_count())  # torch.manual_seed seeds them all, used or not
    with (
        _turn,
        cpu_by_default(),
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
