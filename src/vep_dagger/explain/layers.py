"""Two sets of layers: paired, and for each pair whether its own inputs differ, or only what it stands on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from vep_dagger.dsl import Image, ImageSource, Layer
from vep_dagger.explain.document import Change, Difference, State
from vep_dagger.explain.steps import compare_builds, compare_sources, renamed, renamed_source

ENVIRONMENT = "environment"
"""What an image's own chain of steps is called: no layer may have the name."""

Parted = Layer | Image


class Pairs:
    """The layers of A and of B, each with its counterpart: the one of the same key, or else of the same name."""

    def __init__(self, a: Iterable[Layer], b: Iterable[Layer]) -> None:
        self.a = {layer.key: layer for layer in a}
        self.b = {layer.key: layer for layer in b}
        self._of: dict[str, str] = {key: key for key in self.a if key in self.b}
        free: dict[str, list[str]] = {}
        for key, layer in self.a.items():
            if key not in self.b:
                free.setdefault(layer.name, []).append(key)
        for key, layer in self.b.items():
            if key not in self.a and free.get(layer.name):
                self._of[key] = free[layer.name].pop(0)
        self.roots = cache(self._roots)

    def before(self, layer: Layer) -> Layer | None:
        """The layer of A that stands where ``layer`` stands in B; None where there is none."""
        key = self._of.get(layer.key)
        return self.a[key] if key else None

    def differences(self) -> list[Difference]:
        """Every layer of either side: those of B in their order, then those that A alone has."""
        found = [self._difference(layer) for layer in self.b.values()]
        paired = set(self._of.values())
        gone = [layer for key, layer in self.a.items() if key not in paired]
        return [*found, *(_alone(layer, "only-a") for layer in gone)]

    def _difference(self, layer: Layer) -> Difference:
        before = self.before(layer)
        if before is None:
            return _alone(layer, "only-b")
        own, because = self.own(before, layer), self.because(before, layer)
        state: State = "same" if before.key == layer.key else "inputs" if own else "needs"
        notes = [*self.notes(before, layer)]
        if before.name != layer.name:
            notes.append(f"called {before.name} in A")
        return Difference(
            name=layer.name, state=state, a=before.key, b=layer.key, changes=own, because=because, notes=notes
        )

    def own(self, a: Parted, b: Parted) -> list[Change]:
        """The inputs of ``a`` and ``b`` themselves that differ; what they stand on is none of them."""
        if a.key == b.key:
            return []
        found = [*self._base(a, b)]
        if a.platform != b.platform:
            found.append(Change(where="", what="platform", a=a.platform, b=b.platform))
        if isinstance(a, Layer) and isinstance(b, Layer):
            if a.prefix != b.prefix:
                found.append(Change(where="", what="prefix", a=a.prefix, b=b.prefix))
            found += self.listed("needs", a.needs, b.needs)
        return [*found, *compare_builds(a.build, b.build)]

    def _base(self, a: Parted, b: Parted) -> Iterator[Change]:
        if isinstance(a.base, ImageSource) and isinstance(b.base, ImageSource):
            for change in compare_sources("", a.base, b.base):
                yield change.model_copy(update={"what": f"base: {change.what}"})
        elif not self._same_place(a.base, b.base):
            yield Change(where="", what="base", a=_base_name(a.base), b=_base_name(b.base))

    def _same_place(self, a: Layer | ImageSource, b: Layer | ImageSource) -> bool:
        return isinstance(a, Layer) and isinstance(b, Layer) and self._of.get(b.key) == a.key

    def listed(self, what: str, a: tuple[Layer, ...], b: tuple[Layer, ...]) -> list[Change]:
        """Whether two lists have the same layers, changed or not, in the same order."""
        if [layer.key for layer in a] == [self._of.get(layer.key) for layer in b]:
            return []
        names = [" ".join(layer.name for layer in layers) for layers in (a, b)]
        if names[0] == names[1]:  # two layers of one name, paired otherwise
            names = [" ".join(f"{layer.name}:{layer.key}" for layer in layers) for layers in (a, b)]
        return [Change(where="", what=what, a=names[0] or None, b=names[1] or None)]

    def because(self, a: Parted, b: Parted) -> list[str]:
        """The names of what ``b`` stands on or needs, near or far, whose own inputs differ from those of ``a``'s."""
        if a.key == b.key:
            return []
        below = [*([b.base] if isinstance(b.base, Layer) else []), *(b.needs if isinstance(b, Layer) else ())]
        return list(dict.fromkeys(name for layer in below for name in self.roots(layer.key)))

    def _roots(self, key: str) -> tuple[str, ...]:
        layer = self.b[key]
        before = self.before(layer)
        if before is None or before.key == layer.key:
            return ()
        own = (layer.name,) if self.own(before, layer) else ()
        return (*own, *self.because(before, layer))

    def notes(self, a: Parted, b: Parted) -> Iterator[str]:
        """What is the same under another name."""
        if isinstance(a.base, ImageSource) and isinstance(b.base, ImageSource):
            yield from renamed_source(a.base, b.base)
        yield from renamed(a.build, b.build)


def _alone(layer: Layer, state: State) -> Difference:
    a, b = (layer.key, None) if state == "only-a" else (None, layer.key)
    return Difference(name=layer.name, state=state, a=a, b=b, changes=[], because=[], notes=[])


def _base_name(base: Layer | ImageSource) -> str:
    return f"layer {base.name} {base.key}" if isinstance(base, Layer) else f"{base.ref} {base.digest or ''}".rstrip()
