"""Python's garbage collector, out of the way of a plan's making."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Hold the cyclic collector back while many values that live on are made: each of its passes would walk them all,
    which takes a third of the time that a hundred thousand cells need. Afterwards they are left out of its passes."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()
            gc.enable()
