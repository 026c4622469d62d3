from __future__ import annotations

import hashlib
import json

import pyarrow as pa

from supir_curate.takedown.proof import prove_removed
from supir_curate.tombstones import add_tombstones, digest
from supir_shards import Store


def test_a_name_is_looked_for_where_it_stands_alone_and_in_every_spelling(tmp_path):
    store = Store(tmp_path)
    name = "faces/a&\u00fc.jpg"
    store.write("a.html", b'<img title="others/faces/a&amp;\xc3\xbc.jpg">')
    store.write_table("t.parquet", pa.table({"x": [name + "?size=2"]}))
    assert prove_removed(store, [name]).standing == ()
    store.write("b.html", b'<img title="faces/a&amp;\xc3\xbc.jpg (1)">')
    store.write("c.json", json.dumps({"x": name}).encode())
    store.write_table(
        "u.parquet", pa.table({"x": pa.array([[("k", name)]], pa.map_(pa.string(), pa.string()))})
    )
    store.write_table("v.parquet", pa.table({"data": [b"a picture"]}))
    add_tombstones(store, [digest(hashlib.sha256(b"a picture").hexdigest())])
    found = prove_removed(store, [name])
    assert [line.partition(":")[0] for line in found.standing] == [
        "b.html",
        "c.json",
        "u.parquet",
        "v.parquet",
    ]
    store.write("w.parquet", b"PAR1")
    assert any(line.startswith("w.parquet: cannot be read") for line in prove_removed(store, []).standing)
