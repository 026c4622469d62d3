"""The report of a selection: one self-contained page."""
