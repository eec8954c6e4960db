"""Many small images as one picture."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def grid_png(images: UInt8[np.ndarray, "n h w c"]) -> bytes:
    """Returns images side by side, in a nearly square grid and enlarged to be looked at, as a PNG.

    Args:
      images: uint8 [n, h, w, c]; the first three channels are shown, or the one there is.
    """
    n, h, w, c = images.shape
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    cells = np.full((rows * columns, h + 2, w + 2, c), 255, np.uint8)
    cells[:n, 1:-1, 1:-1] = images
    sheet = cells.reshape(rows, columns, h + 2, w + 2, c).swapaxes(1, 2).reshape(rows * (h + 2), columns * (w + 2), c)
    scale = max(1, 64 // h)
    sheet = sheet.repeat(scale, axis=0).repeat(scale, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(sheet[..., :3] if c >= 3 else sheet[..., 0]).save(buffer, "PNG")
    return buffer.getvalue()
