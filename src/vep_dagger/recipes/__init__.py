"""Recipes that come with the project, one a file, and the look-up of recipes by name."""

from vep_dagger.recipes.registry import BUILT_IN, find_recipe

__all__ = ["BUILT_IN", "find_recipe"]
