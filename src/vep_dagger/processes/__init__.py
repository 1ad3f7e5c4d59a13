"""Processes of this machine that end when they should: whatever is started here is gone when ``vep`` is, however
``vep`` ends.

:mod:`.run` starts and stops them, :mod:`.guard` watches over each, :mod:`.leftovers` finds what outlived both. Nothing
is imported here, since the guard imports this package and must start quickly.
"""
