"""Removal of pictures from a finished dataset, and its proof."""
