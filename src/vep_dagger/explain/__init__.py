"""Why two cells, or a cell and a lock, differ: which inputs of which layers, and what is rebuilt for it."""

from vep_dagger.explain.compare import explain
from vep_dagger.explain.document import Change, Explanation
from vep_dagger.explain.side import Side, sides

__all__ = ["Change", "Explanation", "Side", "explain", "sides"]
