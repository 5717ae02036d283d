"""What a fit shows as it goes: a bar, a line an epoch, or nothing; the lines go to logging in any case."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
# Shows the record of an epoch: of which restart, and of how many epochs its phase has at most.
Show = Callable[[int, dict[str, Any], int], None]

logger = logging.getLogger("deepcluster_sk")


def note(line: str, verbose: int) -> None:
    """Log a line, and print it where something is to be shown."""
    logger.info(line)
    if verbose > 0:
        print(line, flush=True)


def tracked(items: Iterable[T], n_items: int, what: str, verbose: int) -> Iterator[T]:
    """Items as they are, with a bar of how many have passed, or a line at their begin."""
    bar = _bar() if verbose > 0 else None
    note(f"{what}: {n_items}", verbose if bar is None else 0)
    if bar is None:
        yield from items
        return
    with bar:
        yield from bar.track(items, total=n_items, description=f"{what} ({n_items})")


@contextmanager
def training(verbose: int, phases: Mapping[str, int], n_init: int) -> Iterator[Show]:
    """Give what is to be told of each epoch.

    Parameters
    ----------
    verbose : int
        Nothing is shown at 0.
    phases : mapping
        Most epochs of each phase, in order.
    n_init : int
        Restarts, of these phases each.
    """
    bar = _bar() if verbose > 0 else None

    def show_line(restart: int, record: dict[str, Any], n_epochs: int) -> None:
        note(_line(restart, record, n_epochs, n_init), verbose if bar is None else 0)

    if bar is None:
        yield show_line
        return
    firsts = {phase: sum(list(phases.values())[:i]) for i, phase in enumerate(phases)}
    n_epochs_in_all = sum(phases.values())
    with bar:
        task = bar.add_task("training", total=n_init * n_epochs_in_all)

        def show_bar(restart: int, record: dict[str, Any], n_epochs: int) -> None:
            show_line(restart, record, n_epochs)
            # A phase that ends early makes the bar jump to where the next one begins.
            done = restart * n_epochs_in_all + firsts[record["phase"]] + record["epoch"] + 1
            bar.update(task, completed=done, description=_summary(restart, record, n_epochs, n_init), refresh=True)

        yield show_bar
        bar.update(task, completed=n_init * n_epochs_in_all)


def _bar() -> Any:
    """Rich's progress bar, or None where rich is missing or the output is neither a terminal nor a notebook."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    except ImportError:
        return None
    console = Console()
    if not (console.is_terminal or console.is_jupyter):
        return None
    text = TextColumn("{task.description}")
    return Progress(text, BarColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console)


def _place(restart: int, record: dict[str, Any], n_epochs: int, n_init: int) -> str:
    of_restarts = f"fit {restart + 1}/{n_init}, " if n_init > 1 else ""
    return f"{of_restarts}{record['phase']} epoch {record['epoch'] + 1}/{n_epochs}"


def _summary(restart: int, record: dict[str, Any], n_epochs: int, n_init: int) -> str:
    """Place, loss and clusters in use."""
    parts = [_place(restart, record, n_epochs, n_init)]
    if "loss" in record:
        parts.append(f"loss {record['loss']:.4g}")
    if "cluster_sizes" in record:
        parts.append(f"{sum(size > 0 for size in record['cluster_sizes'])} clusters in use")
    return ", ".join(parts)


def _line(restart: int, record: dict[str, Any], n_epochs: int, n_init: int) -> str:
    """The summary and every other number."""
    others = [f"{key} {value:.4g}" for key, value in record.items() if isinstance(value, float) and key != "loss"]
    return ", ".join([_summary(restart, record, n_epochs, n_init), *others])
