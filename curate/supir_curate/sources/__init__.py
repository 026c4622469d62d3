"""Where candidates come from: listed, cut into parts, and their original bytes read."""
