"""Measures of a picture's quality that more than one stage takes: PSNR, SSIM, LPIPS, NIQE, and the door to pyiqa's.

Place in the flow: `curate` scores candidates with them, `degrade` its negatives, `train` and `infer` what they
restored; the package imports `supir_console` alone of ours. The law: one measure has one implementation, so that its
numbers compare across stages.
"""

from supir_quality.errors import MeasureMissing

__all__ = ["MeasureMissing"]
