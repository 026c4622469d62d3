"""Curation: a folder of pictures or a list of URLs in, a dataset of texture-rich photos out. Start with `verdict.py`.

`plan` cuts the source into parts, `fetch` gets bytes politely, `score` measures every picture once, `select` decides
by rules over the ledger alone, `pack` writes shards, `report` shows what happened.
"""
