"""A picture of clips side by side: one row each, a few moments as columns."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ppgym.core.state import U1

LEAST_SIDE_PX = 192  # smaller frames are enlarged by whole factors, pixel for pixel
LABEL_PX = 20
GAP_PX = 4
INK, PAPER = (20, 20, 20), (255, 255, 255)


def side_by_side(rows: Sequence[tuple[str, U1]], columns: int = 5) -> bytes:
    """Draw clips under each other.

    Args:
        rows: Label and frames uint8 [T, H, W, 3] of each clip, of one shape.
        columns: Moments, from the first frame to the last.

    Returns:
        A PNG file.
    """
    count, height, width = rows[0][1].shape[:3]
    moments = np.unique(np.linspace(0, count - 1, columns).round().astype(int))
    scale = max(-(-LEAST_SIDE_PX // min(height, width)), 1)
    row_px, column_px = LABEL_PX + height * scale + GAP_PX, width * scale + GAP_PX
    canvas = Image.new("RGB", (column_px * len(moments) + GAP_PX, row_px * len(rows)), PAPER)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=14)
    for i, (label, frames) in enumerate(rows):
        draw.text((GAP_PX, i * row_px + 1), label, fill=INK, font=font)
        for j, moment in enumerate(moments):
            picture = Image.fromarray(frames[moment]).resize((width * scale, height * scale), Image.Resampling.NEAREST)
            canvas.paste(picture, (GAP_PX + j * column_px, i * row_px + LABEL_PX))
    memory = io.BytesIO()
    canvas.save(memory, format="PNG")
    return memory.getvalue()
