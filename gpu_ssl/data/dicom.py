"""Reading DICOM files (medical images) with pydicom."""

from typing import IO

import numpy as np
from PIL import Image

from gpu_ssl.errors import DataError


def read_dicom(file: IO[bytes], page: int) -> Image.Image:
    """Return frame number `page` of a DICOM file, counted from 0.

    Grey images hold physical values, such as Hounsfield units (PS3.3 C.11.1: stored value times rescale
    slope plus intercept), inverted within their range if low values are to be shown bright (MONOCHROME1).

    Raises
    ------
    DataError
        If the file holds no such image.
    """
    import pydicom
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
    from pydicom.pixels.utils import pixel_array

    content = pydicom.dcmread(file)
    if "PixelData" not in content and "FloatPixelData" not in content:
        raise DataError("it holds metadata, but no image")
    frames = int(content.get("NumberOfFrames", None) or 1)
    if page >= frames:
        raise DataError(f"it has {frames} frames")
    values = pixel_array(content, index=page if frames > 1 else None)
    kind = content.get("PhotometricInterpretation")
    bits = int(content.get("BitsStored", 8))
    if kind == "PALETTE COLOR":
        values = apply_color_lut(values, content)
        bits = 8 * values.itemsize
    if values.ndim == 3:
        colours = np.ascontiguousarray(values[..., :3])
        image = Image.fromarray((colours >> max(bits - 8, 0)).astype(np.uint8))
    else:
        numbers = np.asarray(apply_modality_lut(values, content), dtype=np.float32)
        if kind == "MONOCHROME1":
            numbers = numbers.min() + numbers.max() - numbers
        image = Image.fromarray(numbers)
    # The attributes of Pillow's multi-frame images.
    image.is_animated, image.n_frames = frames > 1, frames  # type: ignore[attr-defined]
    return image
