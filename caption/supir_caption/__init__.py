"""Captions beside the shards: dense text for an image and its regions, and a text that CLIP reads whole.

Place in the flow: after curation, before training. Reads shards, writes `captions/NAME/*.parquet`, never a
tar.
"""

from supir_caption.config import CaptionConfig
from supir_caption.regions import region_boxes

__all__ = ["CaptionConfig", "region_boxes"]
