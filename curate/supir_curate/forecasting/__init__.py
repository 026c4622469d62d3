"""What a run will give and take: from a look at the source, or from a pilot."""
