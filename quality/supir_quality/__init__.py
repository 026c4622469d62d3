"""Measures of a picture's quality that more than one stage takes: NIQE, and the door to pyiqa's metrics.

Place in the flow: `curate` scores candidates with them, `degrade` its negatives, `infer` what it restored; the package
imports nothing of ours. The law: one measure has one implementation, so that its numbers compare across stages.
"""

from supir_quality.errors import MeasureMissing

__all__ = ["MeasureMissing"]
