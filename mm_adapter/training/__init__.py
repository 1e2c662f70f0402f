"""From arguments to a trained coach."""

from pathlib import Path

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
if not RECIPES.is_dir():  # installed from a wheel
    RECIPES = Path(__file__).resolve().parents[1] / "_recipes"
"""Folder of the recipes with their presets and launch files, in a checkout or in the installed package."""
