"""Captions examined by models: `audit` asks one whether the picture shows what is said, `quiz` what a caption tells."""
