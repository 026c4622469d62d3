"""Pages about captions that are stored: `report` of one captioner, `compare` of two."""
