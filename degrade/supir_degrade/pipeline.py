"""Degrades one image, and rebuilds the same degraded image from its trace.

Place in the flow: the trainer's loader calls `degrade` for every sample; anything that holds a trace calls
`replay`. The law: `degrade` is `draw` followed by `replay`, so the two can never differ.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from supir_console import UserError
from supir_degrade import trace as ops
from supir_degrade.draw import draw
from supir_degrade.recipe import Recipe
from supir_degrade.trace import Op, Trace


def degrade(
    image: NDArray[np.uint8], recipe: Recipe, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Trace]:
    """Returns the degraded image, of the same size, and the trace that rebuilds it.

    Args:
        image: uint8 (H, W, 3) RGB.
        recipe: the ranges to draw from.
        rng: the sample's own generator, see `sample_generator`.

    Raises:
        UserError: the image has no pixels, or another type.
    """
    if not image.size:
        raise UserError(f"image is {image.dtype} {image.shape}, it has no pixels; give uint8 (H, W, 3)")
    trace = draw(recipe, (image.shape[0], image.shape[1]), rng)
    return replay(image, trace), trace


def replay(image: NDArray[np.uint8], trace: Trace) -> NDArray[np.uint8]:
    """Returns the image after the operations of `trace`: uint8 (H, W, 3), same bytes every time.

    Args:
        image: uint8 (H, W, 3) RGB, of the size that the trace was drawn for.
        trace: from `degrade`, `draw` or `Trace.from_json`.

    Raises:
        UserError: the image has another size or type than the trace needs, or the trace ends at another size.
    """
    expected = (trace.height, trace.width, 3)
    if image.shape != expected or image.dtype != np.uint8:
        raise UserError(
            f"image is {image.dtype} {image.shape}, the trace was drawn for uint8 {expected}; "
            "replay it on the crop that it was made from"
        )
    require_end_size(trace)
    if not trace.ops:
        return image.copy()
    from supir_degrade.codecs import to_uint8

    values = image.astype(np.float32) / np.float32(255)
    for op in trace.ops:
        values = apply_op(values, op)
    return to_uint8(values)


def require_end_size(trace: Trace) -> None:
    """Raises UserError if the operations leave the picture at another size: no drawn trace does."""
    if trace.end_size != (trace.height, trace.width):
        raise UserError(
            f"the trace ends at {trace.end_size} px and not at its picture's {(trace.height, trace.width)};"
            " it was cut short or written by hand"
        )


def apply_op(image: NDArray[np.float32], op: Op) -> NDArray[np.float32]:
    """Returns the float32 (H, W, 3) image after one operation."""
    from supir_degrade import camera, codecs, filters, kernels, moire, noise, vae, video

    match op:
        case ops.Blur() | ops.Sinc() | ops.Defocus() | ops.Motion():
            return filters.convolve(image, kernels.kernel_of(op))
        case ops.Resize():
            return filters.resize(image, op.height, op.width, op.interpolation)
        case ops.GaussianNoise():
            return noise.add_gaussian_noise(image, sigma=op.sigma, gray=op.gray, seed=op.seed)
        case ops.PoissonNoise():
            return noise.add_poisson_noise(image, scale=op.scale, gray=op.gray, seed=op.seed)
        case ops.CameraNoise():
            return camera.add_camera_noise(image, shot=op.shot, read_sigma=op.read_sigma, seed=op.seed)
        case ops.Moire():
            return moire.photograph_screen(
                image,
                pitch=op.pitch,
                angle=op.angle,
                lens_sigma=op.lens_sigma,
                blur_sigma_px=op.blur_sigma_px,
            )
        case ops.Sharpen():
            return filters.unsharp_mask(
                image, weight=op.weight, radius_px=op.radius_px, threshold=op.threshold
            )
        case ops.Jpeg():
            return codecs.jpeg(
                image, quality=op.quality, subsampling=op.subsampling, progressive=op.progressive
            )
        case ops.Webp():
            return codecs.webp(image, quality=op.quality, method=op.method)
        case ops.Avif():
            return codecs.avif(image, quality=op.quality, speed=op.speed)
        case ops.Video():
            return video.video_frame(image, codec=op.codec, crf=op.crf, preset=op.preset, matrix=op.matrix)
        case ops.Vae():
            return vae.round_trip(image, weights=op.weights, digest=op.digest)
