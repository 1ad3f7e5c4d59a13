"""Two sides, compared layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vep_dagger.explain.document import Change, Difference, Explanation, SideDoc, State
from vep_dagger.explain.images import compare_environments, compare_images, compare_servers, compare_variables
from vep_dagger.explain.layers import Pairs
from vep_dagger.explain.side import Side
from vep_dagger.plan.plan import with_needs


def explain(a: Side, b: Side) -> Explanation:
    """Why they differ, and what is built to go from A to B. Two equal images have no change at all; two that are not
    have at least one, unless a side is a record of keys, or cannot be.
    """
    if a.image is None or b.image is None:
        return _recorded(a, b)
    pairs = Pairs(with_needs(a.image), with_needs(b.image))
    layers = pairs.differences()
    environment = compare_environments(pairs, a.image, b.image)
    return _put(
        a,
        b,
        layers,
        environment,
        compare_images(pairs, [*layers, environment], a.image, b.image),
        compare_variables(a.image.env, b.image.env),
    )


def _recorded(a: Side, b: Side) -> Explanation:
    """By keys alone, as far as they are known. Neither the chain nor the server is in a record of layers."""
    (image_a, layers_a, env_a), (image_b, layers_b, env_b) = _keys(a), _keys(b)
    if image_a is None or image_b is None:
        return _put(a, b, [], None, None, [])
    layers = [_by_key(name, layers_a.get(name), layers_b.get(name)) for name in {**layers_b, **layers_a}]
    whole = all(side.recorded is None or side.recorded.complete for side in (a, b))
    if not whole:  # what an incomplete record lacks says nothing about the image
        layers = [layer for layer in layers if layer.a and layer.b]
    differing = [layer.name for layer in layers if layer.state == "unknown"]
    image = _by_key("image", image_a, image_b)
    if image.state == "unknown":
        image = image.model_copy(update={"because": differing})
    return _put(a, b, layers, None, image, compare_variables(env_a, env_b), _system(a, b))


def _system(a: Side, b: Side) -> list[Change]:
    """The packages of the distribution that are not the same, as far as both sides have recorded theirs."""
    ours, theirs = (side.recorded.system if side.recorded else {} for side in (a, b))
    if not ours or not theirs:
        return []
    return [
        Change(where="", what=name, a=ours.get(name), b=theirs.get(name))
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]


def _keys(side: Side) -> tuple[str | None, Mapping[str, str], Mapping[str, str]]:
    if side.image is not None:
        named = {layer.name: layer.key for layer in with_needs(side.image)}
        return side.image.key, named, side.image.env
    if side.recorded is not None:
        return side.recorded.image, side.recorded.layers, side.recorded.env
    return None, {}, {}


def _by_key(name: str, a: str | None, b: str | None) -> Difference:
    state: State = "only-b" if a is None else "only-a" if b is None else "same" if a == b else "unknown"
    return Difference(name=name, state=state, a=a, b=b, changes=[], because=[], notes=[])


def _put(
    a: Side,
    b: Side,
    layers: list[Difference],
    environment: Difference | None,
    image: Difference | None,
    variables: list[Change],
    system: Sequence[Change] = (),
) -> Explanation:
    both = a.deployment and b.deployment
    return Explanation(
        a=_side(a),
        b=_side(b),
        layers=layers,
        environment=environment,
        image=image,
        variables=variables,
        system=list(system),
        server=compare_servers(a.deployment, b.deployment) if both and a.deployment and b.deployment else None,
        rebuilt=[layer.name for layer in layers if layer.b and layer.state != "same"],
        shared=[layer.name for layer in layers if layer.state == "same"],
    )


def _side(side: Side) -> SideDoc:
    image, record = side.image, side.recorded
    return SideDoc(
        asked=side.asked,
        what=side.what,
        cell=side.cell,
        image=image.key if image else record.image if record else None,
        tag=image.tag if image else record.tag if record else None,
        impossible=side.impossible,
    )
