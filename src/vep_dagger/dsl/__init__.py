"""The build language: sources, build chain, layer, recipe, key. Pure values; no engine, no network."""

from vep_dagger.dsl.build import Build, Check
from vep_dagger.dsl.key import canonical, key_of, short
from vep_dagger.dsl.layer import Layer, LayerDef, LayerPins, Stack, layer
from vep_dagger.dsl.pins import Commit, Instant, Pins, Sha256, SpellingError, Version, spelled
from vep_dagger.dsl.recipe import Image, Impossible, Recipe, recipe
from vep_dagger.dsl.source import PLAIN, GitSource, HttpSource, ImageSource, PlainBase, Source, git, http, image
from vep_dagger.dsl.step import JOBS, Alternative, LockedPackage, Step, with_jobs

__all__ = [
    "JOBS",
    "PLAIN",
    "Alternative",
    "Build",
    "Check",
    "Commit",
    "GitSource",
    "HttpSource",
    "Image",
    "ImageSource",
    "Impossible",
    "Instant",
    "Layer",
    "LayerDef",
    "LayerPins",
    "LockedPackage",
    "Pins",
    "PlainBase",
    "Recipe",
    "Sha256",
    "Source",
    "SpellingError",
    "Stack",
    "Step",
    "Version",
    "canonical",
    "git",
    "http",
    "image",
    "key_of",
    "layer",
    "recipe",
    "short",
    "spelled",
    "with_jobs",
]
