"""Every attention option of conf/attention as one picture.

python -m benchmarks.studies.plot_masks [--frames 16 --blocks 32 --output runs/plot_masks.png]     two seconds, no GPU
"""

import argparse
import math
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from sculpt4d.attention.patterns import Pattern

CONF = Path(__file__).resolve().parents[2] / "conf"
ORDER = ["blockmask_decay", "no_anchor", "fixed_stride", "aggressive", "conservative"]  # as in Table A1, then the rest
ORDER += ["full", "rope", "temporal_only", "radial", "framepack", "motion_adaptive"]

COLUMNS, SIDE, GAP, MARGIN, HEAD, CAPTION = 5, 512, 56, 72, 172, 84  # pixels
GROUND, HIDDEN, INK, MUTED = (255, 255, 255), (240, 242, 246), (24, 28, 40), (112, 120, 136)
NEAR, FAR = np.array([20, 40, 92]), np.array([72, 168, 190])  # frames at distance 0, and the farthest
ANCHOR = np.array([222, 120, 50])


def main() -> None:
    """Draws the figure and says where it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=16, help="frames of the clip")
    parser.add_argument("--blocks", type=int, default=32, help="blocks of a frame")
    parser.add_argument("--output", type=Path, default=Path("runs/plot_masks.png"))
    given = parser.parse_args()
    if given.frames < 1 or given.blocks < 1:
        parser.error(f"--frames and --blocks count from 1 up, got {given.frames} and {given.blocks}")
    figure = draw(load_options(), given.frames, given.blocks)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    partial = given.output.with_stem(f"{given.output.stem}.partial")
    figure.save(partial)
    partial.replace(given.output)
    print(f"{given.output}: {figure.width} x {figure.height}")


def load_options() -> dict[str, Pattern]:
    """Every option of the group, the paper's rows first, those this file does not know last."""
    names = sorted(path.stem for path in (CONF / "attention").glob("*.yaml"))
    names.sort(key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return {
            name: instantiate(compose(overrides=[f"+attention={name}", "++model.block_size=128"]).attention)
            for name in names
        }


def draw(options: dict[str, Pattern], frames: int, blocks: int) -> Image.Image:
    """The figure: a panel for each option under a title that explains rows, columns and colours."""
    rows = math.ceil(len(options) / COLUMNS)
    size = (
        2 * MARGIN + COLUMNS * SIDE + (COLUMNS - 1) * GAP,
        HEAD + rows * (SIDE + CAPTION) + (rows - 1) * GAP + MARGIN,
    )
    figure = Image.new("RGB", size, GROUND)
    pen = ImageDraw.Draw(figure)
    pen.text((MARGIN, 52), "What temporal attention sees", INK, ImageFont.load_default(46))
    legend = f"{frames} frames of {blocks} blocks. Rows ask, columns answer, frame by frame; percent of all pairs. "
    legend += "A block of temporal_only is one token; motion_adaptive is that of a clip which speeds up."
    pen.text((MARGIN, 114), legend, MUTED, ImageFont.load_default(27))
    right = size[0] - MARGIN
    for label, color in (("first frame", ANCHOR), ("far frames", FAR), ("near frames", NEAR)):
        right -= 34 + int(pen.textlength(label, ImageFont.load_default(27)))
        pen.rectangle((right, 120, right + 22, 142), tuple(color.tolist()))
        pen.text((right + 32, 114), label, INK, ImageFont.load_default(27))
        right -= 36
    for index, (name, option) in enumerate(options.items()):
        pattern = option.typical(frames)
        x = MARGIN + index % COLUMNS * (SIDE + GAP)
        y = HEAD + index // COLUMNS * (SIDE + CAPTION + GAP)
        percent = f"{100 * pattern.density(frames, blocks):.1f} %"
        pen.text((x, y + 28), name, INK, ImageFont.load_default(34))
        pen.text((x + SIDE, y + 30), percent, MUTED, ImageFont.load_default(32), anchor="ra")
        figure.paste(panel(pattern, frames, blocks), (x, y + CAPTION))
        pen.rectangle((x - 1, y + CAPTION - 1, x + SIDE, y + CAPTION + SIDE), outline=(206, 211, 221))
    return figure


def panel(pattern: Pattern, frames: int, blocks: int) -> Image.Image:
    """One mask, coloured by the distance of the frames; white lines part the frames."""
    mask = pattern.mask(frames, blocks).numpy()
    query = np.arange(mask.shape[0])[:, None] * frames // mask.shape[0]
    key = np.arange(mask.shape[1])[None] * frames // mask.shape[1]
    distance = np.abs(query - key)[..., None] / max(frames - 1, 1)
    color = np.where(key[..., None] == 0, ANCHOR, NEAR + (FAR - NEAR) * np.sqrt(distance))
    image = Image.fromarray(np.where(mask[..., None], color, HIDDEN).astype(np.uint8))
    return Image.fromarray(_part(np.asarray(image.resize((SIDE, SIDE), _filter(mask.shape))), frames))


def _filter(shape: tuple[int, ...]) -> Image.Resampling:
    """Blocks stay sharp when enlarged by a whole number and are averaged otherwise."""
    return Image.Resampling.NEAREST if all(SIDE % side == 0 for side in shape) else Image.Resampling.BOX


def _part(pixels: UInt8[np.ndarray, "h w 3"], frames: int) -> UInt8[np.ndarray, "h w 3"]:
    """The panel with faint lines between frames."""
    pixels = pixels.copy()
    lines = np.arange(1, frames) * SIDE // frames
    for view in (pixels, pixels.swapaxes(0, 1)):
        view[lines] = (view[lines].astype(np.uint16) + 2 * 255) // 3
    return pixels


if __name__ == "__main__":
    main()
