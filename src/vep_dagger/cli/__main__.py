"""``python -m vep_dagger.cli``: the same as ``vep``."""

from __future__ import annotations

from vep_dagger.cli import main

main()
