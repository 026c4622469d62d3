"""Claim: the per-sample recipe with real codecs is 20 x the peer with its sharpening, 4 x without; its outputs agree.

Peer: basicsr 1.4.2's operations (degrade_peer.py), on the same 512 x 512 photos with the same recipe numbers.
Run: python benchmarks/degrade.py BASICSR [--samples 200] [--timed 90] [--sharpened 16] [--agreement-only]

BASICSR is the source distribution basicsr-1.4.2.tar.gz from PyPI, or its unpacked folder. One thread each, in turns,
sample by sample; times are of the processor. A second row of the peer has denormal numbers flushed to zero, without
which the faint rims of its kernels slow a CPU down. Ends with 1 where a number is out of its band, 2 without a peer.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from common import WHERE_BASICSR


def main() -> int:
    """Prints speed, memory and agreement; returns the exit status."""
    parser = argparse.ArgumentParser(description="Speed and agreement against basicsr 1.4.2.")
    parser.add_argument("basicsr", type=Path, nargs="?", metavar="BASICSR")
    parser.add_argument("--samples", type=int, default=200, help="draws a recipe that are compared")
    parser.add_argument("--timed", type=int, default=90, help="samples a side that are timed")
    parser.add_argument("--sharpened", type=int, default=16, help="the same with the slow sharpening")
    parser.add_argument("--agreement-only", action="store_true", help="no timing")
    options = parser.parse_args()
    if options.basicsr is None:
        print(WHERE_BASICSR, file=sys.stderr)
        return 2
    # Imported here, as without the peer nothing of it is needed.
    from degrade_peer import NoPeerError

    try:
        return _compare(options)
    except NoPeerError as error:
        print(error, file=sys.stderr)
        return 2


def _compare(options: argparse.Namespace) -> int:
    import cv2
    import torch
    from degrade_agreement import agreement
    from degrade_peer import open_peer
    from degrade_speed import memory, speed

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with open_peer(options.basicsr) as peer:
        if not options.agreement_only:
            speed(peer, options.timed, options.sharpened)
            memory()
        print(f"agreement with basicsr {peer.version}, {options.samples} draws a recipe: ours, theirs")
        rows = []
        for row in agreement(peer, options.samples):
            print(row, flush=True)
            rows.append(row)
    misses = sum(not row.agrees for row in rows)
    print(f"{len(rows) - misses} of {len(rows)} agree")
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
