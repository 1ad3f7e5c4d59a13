"""The names that images get outside: tags in a registry, names of archives, labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from vep_dagger.builders.stages import Lowered
from vep_dagger.dsl import Image, short

KEY_LABEL = "dev.vep.key"
"""The key of the image as it was built: :attr:`.Lowered.key`."""
IMAGE_LABEL = "dev.vep.image"
"""The image's own key, the same on every base that stands for the plain one."""
RECIPE_LABEL = "dev.vep.recipe"


def labels(lowered: Lowered) -> dict[str, str]:
    """The labels that say of an image, wherever it is found, what it was made of."""
    return {KEY_LABEL: lowered.key, IMAGE_LABEL: lowered.image.key, RECIPE_LABEL: lowered.image.recipe}


def tag_of(image: Image, tags: Mapping[str, str]) -> str:
    """The tag that an image is published and exported under."""
    return tags.get(image.key, image.tag)


def publish_tags(images: Iterable[Image]) -> dict[str, str]:
    """The tag of each image, by its key: its own, and with ``-<short key>`` where another image has the same.

    The images of a matrix are given together, so that which of them are built in one run does not change a name.
    """
    tags = {image.key: image.tag for image in images}
    shared = Counter(tags.values())
    return {key: tag if shared[tag] == 1 else f"{tag}-{short(key)}" for key, tag in tags.items()}
