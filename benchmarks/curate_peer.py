"""One peer of curate.py on a folder of photos, run by the peer's own Python: prints its processor seconds as JSON.

Run: PEER_PYTHON benchmarks/curate_peer.py cleanvision|data-juicer FOLDER
Imports are not counted; reading, decoding and every score are, children's time included.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Runs the peer that the first word names."""
    name, folder = sys.argv[1], sys.argv[2]
    run = {"cleanvision": _cleanvision, "data-juicer": _data_juicer}[name]
    print(json.dumps({"processor_s": run(folder)}))


def _seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _cleanvision(folder: str) -> float:
    from cleanvision import Imagelab

    started = _seconds()
    Imagelab(data_path=folder).find_issues(n_jobs=1, verbose=False)
    return _seconds() - started


def _data_juicer(folder: str) -> float:
    from data_juicer.ops.filter import ImageAspectRatioFilter, ImageShapeFilter, ImageSizeFilter
    from data_juicer.ops.filter.image_subplot_filter import ImageSubplotFilter
    from data_juicer.utils.constant import Fields

    filters = [ImageSubplotFilter(), ImageShapeFilter(), ImageAspectRatioFilter(), ImageSizeFilter()]
    started = _seconds()
    for path in sorted(Path(folder).iterdir()):
        for one in filters:
            batch = {"images": [[str(path)]], Fields.stats: [{}], Fields.context: [{}]}
            if one.is_batched_op():
                one.compute_stats_batched(batch)
            else:
                one.compute_stats_single({key: value[0] for key, value in batch.items()})
    return _seconds() - started


if __name__ == "__main__":
    main()
