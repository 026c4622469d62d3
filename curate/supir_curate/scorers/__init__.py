"""Scorers with weights: each module is one kind, with its config beside it; `assess` runs them."""
