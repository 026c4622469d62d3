"""Camera-like originals of photos: what a sensor, its demosaicing and its firmware leave in a JPEG at native scale.

Photos that were reduced for the screen are sharper and cleaner, pixel by pixel, than any camera writes. Here a photo,
reduced first so that its own pixels are sharp, is the scene; light is blurred by lens and anti-alias filter, sampled
behind a Bayer mosaic of any of the four phases with shot and read noise, demosaiced, denoised, sharpened and saved as
a 4:2:0 JPEG at quality 90 to 97. Cameras of about 2000 had fewer pixels and did more to each: `draw_digicam` draws
bilinear demosaicing, colour read from squares of 2 x 2 samples and laid under full green, or samples on a honeycomb
from which twice as many pixels are interpolated; strong sharpening; quality 75 to 92. What is drawn depends on the
photo's name alone.

Source: noise of a photon-counting sensor (EMVA 1288); the demosaicing is OpenCV's bilinear and edge-aware ones and the
linear filters of Malvar, He and Cutler 2004, "High-quality linear interpolation for demosaicing of Bayer-patterned
color images", figure 2 (equal to colour-demosaicing's to 2e-7); the sRGB curve of IEC 61966-2-1. Left out: aberrations,
lens shading, defect pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
Linear = NDArray[np.float32]
Sites = NDArray[np.int8]

MIN_REDUCTION = 1.25  # of the photo, so that the scene is sharp where the photo was
MAX_SHORT_SIDE_PX = 1968  # a 3:2 picture of 5.8 megapixels
SIDE_MULTIPLE_PX = 16  # as cameras write: whole 4:2:0 blocks
DEMOSAICING = ("bilinear", "edge-aware", "Malvar")
OLD_DEMOSAICING = ("bilinear", "squares", "honeycomb")
OLD_SHORT_SIDES_PX = (600, 768, 960, 1200, 1536)  # 0.5 to 3.1 megapixels
ISO = (100, 400, 1600)
FULL_WELL_ELECTRONS = 20_000  # at ISO 100
READ_ELECTRONS = 3.0
RAW_LEVELS = 4095
WHITE_BALANCE = np.array([2.0, 1.0, 1.5], np.float32)
COLOUR_MATRIX = np.array([[1.6, -0.5, -0.1], [-0.25, 1.5, -0.25], [0.0, -0.5, 1.5]], np.float32)


class Camera(NamedTuple):
    """One camera and its settings.

    Args:
        top, left: 0 or 1, the mosaic's phase.
        lens_sigma_px: Gaussian blur of lens and anti-alias filter.
        iso: divides the electrons that a pixel counts.
        demosaicing: one of `DEMOSAICING` or `OLD_DEMOSAICING`.
        denoised_share: of the luma noise, what the firmware takes away.
        sharpen_sigma_px, sharpen_amount: the firmware's unsharp mask on luma.
        quality: libjpeg quality, chroma halved both ways.
        max_short_side_px: of the sensor.
    """

    top: int
    left: int
    lens_sigma_px: float
    iso: int
    demosaicing: str
    denoised_share: float
    sharpen_sigma_px: float
    sharpen_amount: float
    quality: int
    max_short_side_px: int = MAX_SHORT_SIDE_PX


def draw_camera(rng: np.random.Generator) -> Camera:
    """Returns a camera drawn evenly from what is met."""
    return Camera(
        top=int(rng.integers(2)),
        left=int(rng.integers(2)),
        lens_sigma_px=float(rng.uniform(0.4, 0.7)),
        iso=int(rng.choice(ISO)),
        demosaicing=str(rng.choice(DEMOSAICING)),
        denoised_share=float(rng.uniform(0.2, 0.9)),
        sharpen_sigma_px=float(rng.uniform(0.6, 1.0)),
        sharpen_amount=float(rng.uniform(0.3, 1.0)),
        quality=int(rng.choice((90, 93, 95, 97))),
    )


def draw_digicam(rng: np.random.Generator) -> Camera:
    """Returns a camera of about 2000, drawn evenly from what its firmware may have done."""
    return Camera(
        top=int(rng.integers(2)),
        left=int(rng.integers(2)),
        lens_sigma_px=float(rng.uniform(0.4, 0.7)),
        iso=int(rng.choice(ISO)),
        demosaicing=str(rng.choice(OLD_DEMOSAICING)),
        denoised_share=float(rng.uniform(0.2, 0.9)),
        sharpen_sigma_px=float(rng.uniform(0.5, 1.2)),
        sharpen_amount=float(rng.uniform(0.8, 3.0)),
        quality=int(rng.choice((75, 85, 90, 92))),
        max_short_side_px=int(rng.choice(OLD_SHORT_SIDES_PX)),
    )


def camera_jpeg(rgb: Rgb, camera: Camera, rng: np.random.Generator) -> bytes:
    """Returns the JPEG that a camera would have written of a scene.

    Args:
        rgb: (H, W, 3) uint8 photo; it is reduced by 1.25 at least before it is the scene.
        camera: from `draw_camera`.
        rng: for the sensor's noise.
    """
    light = cv2.GaussianBlur(_linear(_scene(rgb, camera.max_short_side_px)), (0, 0), camera.lens_sigma_px)
    seen = np.clip(light @ np.linalg.inv(COLOUR_MATRIX).T, 0, None).astype(np.float32) / WHITE_BALANCE
    sites = _honeycomb(seen.shape[:2]) if camera.demosaicing == "honeycomb" else _bayer(seen.shape[:2])
    raw = _counted(_sampled(seen, sites), camera.iso, rng)
    balanced = np.minimum(raw * WHITE_BALANCE[np.maximum(sites, 0)], 1.0)
    developed = np.clip(_demosaiced(balanced, sites, camera.demosaicing) @ COLOUR_MATRIX.T, 0, 1)
    encoded = _srgb(developed.astype(np.float32))
    finished = _finished(encoded[camera.top :, camera.left :], camera)
    height, width = (side // SIDE_MULTIPLE_PX * SIDE_MULTIPLE_PX for side in finished.shape[:2])
    how = [cv2.IMWRITE_JPEG_QUALITY, camera.quality]
    how += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    return bytes(cv2.imencode(".jpg", finished[:height, :width, ::-1], how)[1])


def _scene(rgb: Rgb, max_short_side_px: int) -> Rgb:
    scale = min(1 / MIN_REDUCTION, max_short_side_px / min(rgb.shape[:2]))
    size = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _linear(rgb: Rgb) -> Linear:
    level = np.arange(256) / 255
    table = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).astype(np.float32)
    return table[rgb]


def _srgb(linear: Linear) -> Linear:
    power = cv2.pow(linear, 1 / 2.4)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * power - 0.055).astype(np.float32)


def _bayer(shape: tuple[int, ...]) -> Sites:
    """Returns the RGGB sites: red (0) at even rows and columns, blue (2) at odd ones, green (1) elsewhere."""
    sites = np.ones(shape, np.int8)
    sites[::2, ::2], sites[1::2, 1::2] = 0, 2
    return sites


def _honeycomb(shape: tuple[int, ...]) -> Sites:
    """Returns the sites of a sensor turned by 45 degrees: green in even rows, red and blue between; -1 none."""
    sites = np.full(shape, -1, np.int8)
    sites[::2, ::2] = 1
    sites[1::4, 1::4], sites[3::4, 3::4] = 0, 0
    sites[1::4, 3::4], sites[3::4, 1::4] = 2, 2
    return sites


def _sampled(rgb: Linear, sites: Sites) -> Linear:
    """Returns what each site sees, 0 where there is none."""
    chosen = np.take_along_axis(rgb, np.maximum(sites, 0)[..., None].astype(np.intp), axis=2)[..., 0]
    return np.where(sites >= 0, chosen, np.float32(0))


def _counted(raw: Linear, iso: int, rng: np.random.Generator) -> Linear:
    """Returns the samples as counted electrons, in shares of white: shot noise, read noise, the converter's steps."""
    white = FULL_WELL_ELECTRONS * 100 / iso
    sigma = np.sqrt(raw * white + READ_ELECTRONS**2) / white
    noisy = raw + sigma * rng.standard_normal(raw.shape, dtype=np.float32)
    return (np.rint(np.clip(noisy, 0, 1) * RAW_LEVELS) / RAW_LEVELS).astype(np.float32)


def _demosaiced(raw: Linear, sites: Sites, method: str) -> Linear:
    """Returns (H, W, 3) from the samples; from squares without the last row or column of an odd side."""
    if method == "Malvar":
        return _malvar(raw)
    if method == "honeycomb":
        return np.stack([_spread(raw, sites == colour) for colour in range(3)], axis=2)
    if method == "squares":
        return _from_squares(raw[: raw.shape[0] // 2 * 2, : raw.shape[1] // 2 * 2])
    code = cv2.COLOR_BayerRGGB2RGB if method == "bilinear" else cv2.COLOR_BayerRGGB2RGB_EA
    levels = cv2.cvtColor(np.rint(raw * 65535).astype(np.uint16), code)
    return np.asarray(levels, np.float32) / 65535


def _spread(raw: Linear, sites: NDArray[np.bool_]) -> Linear:
    """Returns one colour of a honeycomb everywhere: the mean of its sites nearby, weighted by a tent."""
    tent = np.array([1, 2, 3, 4, 3, 2, 1], np.float32)
    weighted, weight = (
        cv2.sepFilter2D(plane.astype(np.float32), cv2.CV_32F, tent, tent, borderType=cv2.BORDER_REFLECT_101)
        for plane in (raw * sites, sites)
    )
    return np.asarray(weighted / weight, np.float32)


def _from_squares(raw: Linear) -> Linear:
    """Returns full green under the other colours' differences from it, read in squares of 2 x 2 and enlarged."""
    red, blue = raw[::2, ::2], raw[1::2, 1::2]
    green = (raw[::2, 1::2] + raw[1::2, ::2]) / 2
    full = _demosaiced(raw, _bayer(raw.shape), "bilinear")[..., 1]
    size = (raw.shape[1], raw.shape[0])
    differences = [cv2.resize(colour - green, size, interpolation=cv2.INTER_LINEAR) for colour in (red, blue)]
    return np.asarray(np.stack([full + differences[0], full, full + differences[1]], axis=2), np.float32)


def _malvar(raw: Linear) -> Linear:
    cross = np.array(
        [[0, 0, -2, 0, 0], [0, 0, 4, 0, 0], [-2, 4, 8, 4, -2], [0, 0, 4, 0, 0], [0, 0, -2, 0, 0]]
    )
    along = np.array(
        [[0, 0, 1, 0, 0], [0, -2, 0, -2, 0], [-2, 8, 10, 8, -2], [0, -2, 0, -2, 0], [0, 0, 1, 0, 0]]
    )
    opposite = np.array(
        [[0, 0, -3, 0, 0], [0, 4, 0, 4, 0], [-3, 0, 12, 0, -3], [0, 4, 0, 4, 0], [0, 0, -3, 0, 0]]
    )
    green_there, beside, above, diagonal = (
        cv2.filter2D(raw, cv2.CV_32F, kernel.astype(np.float32) / 16, borderType=cv2.BORDER_REFLECT_101)
        for kernel in (cross, along, along.T, opposite)
    )
    red, green, blue = raw.copy(), raw.copy(), raw.copy()
    green[::2, ::2], green[1::2, 1::2] = green_there[::2, ::2], green_there[1::2, 1::2]
    red[::2, 1::2], red[1::2, ::2], red[1::2, 1::2] = (
        beside[::2, 1::2],
        above[1::2, ::2],
        diagonal[1::2, 1::2],
    )
    blue[1::2, ::2], blue[::2, 1::2], blue[::2, ::2] = beside[1::2, ::2], above[::2, 1::2], diagonal[::2, ::2]
    return np.clip(np.stack([red, green, blue], axis=2), 0, 1)


def _finished(rgb: Linear, camera: Camera) -> Rgb:
    """Returns what the firmware makes of it: noise smoothed, strongly in chroma, then luma sharpened."""
    luma, *chroma = cv2.split(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2YCrCb))
    strength = float(np.sqrt(camera.iso / 100))
    smoothed = cv2.bilateralFilter(luma, 5, 3.0 * strength, 1.2)
    luma = luma + camera.denoised_share * (smoothed - luma)
    soft = cv2.GaussianBlur(luma, (0, 0), camera.sharpen_sigma_px)
    luma = luma + camera.sharpen_amount * (luma - soft)
    smooth = [cv2.GaussianBlur(plane, (0, 0), 0.5 + 0.5 * strength) for plane in chroma]
    finished = cv2.cvtColor(cv2.merge([luma, *smooth]), cv2.COLOR_YCrCb2RGB)
    return np.clip(np.rint(finished), 0, 255).astype(np.uint8)
