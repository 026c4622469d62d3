"""URLs into bytes: polite, guarded, with evidence. No other module opens a connection to a site."""
