"""Import of people's own files, and the errors they make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mmgrec.data.dataset import Dataset, Split
from mmgrec.data.importer import ImportOptions, add_features, import_dataset
from mmgrec_engine.errors import DataError

ROWS = {"user": ["b", "a", "b"], "item": ["007", "x", "x"], "rating": [1, 5, 3]}


def bring(path: Path, **given: object) -> Dataset:
    options = ImportOptions(**{k: v for k, v in given.items() if k not in ("modalities", "items")})  # type: ignore[arg-type]
    modalities = given.get("modalities", {})
    items = given.get("items")
    return import_dataset(path, name="d", modalities=modalities, items=items, options=options)  # type: ignore[arg-type]


def csv(folder: Path, rows: dict[str, list[object]], name: str = "t.csv") -> Path:
    pl.DataFrame(rows).write_csv(folder / name, separator="," if name.endswith("csv") else "\t")
    return folder / name


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "inter"])
def test_formats_and_string_ids(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        pl.DataFrame(ROWS).write_parquet(path)
    elif suffix == "inter":
        path.write_text("user_id:token\titem_id:token\trating:float\nb\t007\t1\na\tx\t5\nb\tx\t3\n")
    else:
        csv(tmp_path, ROWS, f"t.{suffix}")
    made = bring(path)
    assert made.users["user"].to_list() == ["a", "b"]
    assert made.items["item"].to_list() == ["007", "x"]
    assert made.histories(*Split).of(1).tolist() == [0, 1]


def test_integer_ids_stay_integers_only_if_exact(tmp_path: Path) -> None:
    made = bring(csv(tmp_path, {"user": [3, 1], "item": [10, -2]}))
    assert made.items["item"].to_list() == [-2, 10]
    path = tmp_path / "z.csv"
    path.write_text("user,item\n1,007\n2,7\n")
    assert bring(path).items["item"].to_list() == ["007", "7"]


def test_other_column_names_and_given_split(tmp_path: Path) -> None:
    path = csv(tmp_path, {"who": ["a", "a"], "what": ["x", "y"], "fold": ["train", "test"]})
    made = bring(path, columns={"user": "who", "item": "what", "split": "fold"})
    assert made.histories(Split.TEST).of(0).tolist() == [1]


def test_min_rating(tmp_path: Path) -> None:
    path = csv(tmp_path, ROWS)  # type: ignore[arg-type]
    assert len(bring(path, min_rating=3).interactions) == 2
    with pytest.raises(DataError, match="--min-rating"):
        bring(path, min_rating=6)


def test_npy_rows_are_item_ids(tmp_path: Path) -> None:
    path = csv(tmp_path, {"user": [1, 1], "item": [0, 3]})
    values = np.arange(1, 11, dtype=np.float16).reshape(5, 2)
    values[2] = 0
    np.save(tmp_path / "v.npy", values)
    made = bring(path, modalities={"visual": tmp_path / "v.npy"})
    assert made.num_items == 5
    visual = made.modalities["visual"]
    assert visual.values.dtype == np.float32
    assert visual.present.tolist() == [True, True, False, True, True]
    assert np.array_equal(visual.values, values.astype(np.float32))


def test_parquet_modality_with_missing_items(tmp_path: Path) -> None:
    path = csv(tmp_path, ROWS)  # type: ignore[arg-type]
    pl.DataFrame({"item": ["x"], "f": [[1.0, 2.0]]}).write_parquet(tmp_path / "lists.parquet")
    pl.DataFrame({"item": ["x"], "a": [1.0], "b": [2.0]}).write_parquet(tmp_path / "wide.parquet")
    files = {name: tmp_path / f"{name}.parquet" for name in ("lists", "wide")}
    made = bring(path, modalities=files)
    for name in files:
        assert made.modalities[name].present.tolist() == [False, True]
        assert made.modalities[name].values.tolist() == [[0.0, 0.0], [1.0, 2.0]]


def test_items_table_orders_the_catalogue_and_gives_texts(tmp_path: Path) -> None:
    path = csv(tmp_path, ROWS)  # type: ignore[arg-type]
    titles = {"item": ["x", "007", "new"], "title": ["Red car", "Blue boat", None]}
    items = csv(tmp_path, titles, "items.csv")  # type: ignore[arg-type]
    np.save(tmp_path / "v.npy", np.ones((3, 2), np.float32))
    made = bring(path, items=items, modalities={"v": tmp_path / "v.npy"})
    assert made.items["item"].to_list() == ["x", "007", "new"]
    texts = add_features(made, ["title"], "tfidf", None).modalities["text"]
    assert texts.present.tolist() == [True, True, False]
    with pytest.raises(DataError, match="genre"):
        add_features(made, ["genre"], "tfidf", None)
    listed = made.items.with_columns(genres=pl.Series([["a", "b"], [], None]))
    with pytest.raises(DataError, match="cannot be read as text"):
        add_features(replace(made, items=listed), ["title", "genres"], "tfidf", None)


def test_duplicates(tmp_path: Path) -> None:
    rows = {"user": ["a", "a", "a"], "item": ["x", "y", "x"], "rating": [1, 2, 3]}
    path = csv(tmp_path, rows)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"1 interactions repeat[\s\S]*user 'a', item 'x'"):
        bring(path)
    kept = bring(path, on_duplicate="keep-first").interactions
    assert kept["rating"].to_list() == [1, 2]


def npy(folder: Path, values: np.ndarray, allow_pickle: bool = False) -> dict[str, Path]:
    np.save(folder / "v.npy", values, allow_pickle=allow_pickle)
    return {"v": folder / "v.npy"}


def test_feature_errors(tmp_path: Path) -> None:
    path = csv(tmp_path, {"user": [1, 1], "item": [0, 1]})
    nan = np.ones((2, 3), np.float32)
    nan[1, 2] = np.inf
    with pytest.raises(DataError, match=r"v\.npy[\s\S]*row 1"):
        bring(path, modalities=npy(tmp_path, nan))
    with pytest.raises(DataError, match="not row numbers"):
        bring(path, modalities=npy(tmp_path, np.ones((1, 3))))
    with pytest.raises(DataError, match="not a matrix"):
        bring(path, modalities=npy(tmp_path, np.ones(2)))
    with pytest.raises(DataError, match=r"not a readable \.npy"):
        bring(path, modalities=npy(tmp_path, np.array([[{}], [{}]]), allow_pickle=True))
    with pytest.raises(DataError, match="does not exist"):
        bring(path, modalities={"v": tmp_path / "none.npy"})
    with pytest.raises(DataError, match="unknown feature file"):
        bring(path, modalities={"v": path})
    strings = csv(tmp_path, ROWS, "s.csv")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="which item has which row"):
        bring(strings, modalities=npy(tmp_path, np.ones((2, 3))))
    items = csv(tmp_path, {"item": ["x", "007", "z"]}, "i.csv")
    with pytest.raises(DataError, match="2 rows, 3 items"):
        bring(strings, items=items, modalities=npy(tmp_path, np.ones((2, 3))))
    pl.DataFrame({"item": ["q"], "a": [1.0]}).write_parquet(tmp_path / "u.parquet")
    with pytest.raises(DataError, match="not in the catalogue"):
        bring(strings, modalities={"v": tmp_path / "u.parquet"})


def test_table_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'item'"):
        bring(csv(tmp_path, {"user": [1], "thing": [2]}))
    with pytest.raises(DataError, match="no column 'who'"):
        bring(csv(tmp_path, ROWS), columns={"user": "who"})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="holds no rows"):
        bring(csv(tmp_path, {"user": [], "item": []}))
    with pytest.raises(DataError, match="unknown file type"):
        bring(_touch(tmp_path))
    with pytest.raises(DataError, match="no id in row 1"):
        bring(csv(tmp_path, {"user": ["a", None], "item": ["x", "y"]}))
    pl.DataFrame({"user": [0.5], "item": ["x"]}).write_parquet(tmp_path / "f.parquet")
    with pytest.raises(DataError, match="holds no ids"):
        bring(tmp_path / "f.parquet")
    items = csv(tmp_path, {"item": ["x"]}, "i.csv")
    with pytest.raises(DataError, match="'007'"):
        bring(csv(tmp_path, ROWS), items=items)  # type: ignore[arg-type]


def _touch(folder: Path) -> Path:
    (folder / "t.xlsx").write_bytes(b"PK")
    return folder / "t.xlsx"


def test_named_columns_are_read_as_what_they_are(tmp_path: Path) -> None:
    # "item" exists as well: the named column wins. Ratings and times are not ids.
    rows = {
        "user": ["a", "a"],
        "item": [1, 2],
        "asin": ["x", "y"],
        "stars": [3.5, 4.5],
        "at": [9, 8],
    }
    names = {"item": "asin", "rating": "stars", "timestamp": "at"}
    pl.DataFrame(rows).write_parquet(tmp_path / "t.parquet")
    for path in (tmp_path / "t.parquet", csv(tmp_path, rows)):  # type: ignore[arg-type]
        made = bring(path, columns=names, min_rating=4)
        assert made.items["item"].to_list() == ["y"]
        assert made.interactions["rating"].to_list() == [4.5]
        assert bring(path, columns=names).histories(*Split).of(0).tolist() == [1, 0]


def test_unusable_ratings_and_times_are_named(tmp_path: Path) -> None:
    rows = {"user": ["a", "a"], "item": ["x", "y"], "rating": ["good", "bad"]}
    with pytest.raises(DataError, match="ratings are not numbers"):
        bring(csv(tmp_path, rows), min_rating=1)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="1 rows have no rating"):
        bring(csv(tmp_path, {**rows, "rating": [1, None]}), min_rating=1)  # type: ignore[dict-item]
    timed = csv(tmp_path, {**rows, "timestamp": [1, None]})  # type: ignore[dict-item]
    with pytest.raises(DataError, match="1 interactions have no timestamp"):
        bring(timed, split="leave-last-out")


def test_two_sources_of_one_modality(tmp_path: Path) -> None:
    items = csv(tmp_path, {"item": ["x", "007"], "title": ["a", "b"]}, "i.csv")
    matrix = npy(tmp_path, np.ones((2, 2)))["v"]
    made = bring(csv(tmp_path, ROWS), items=items, modalities={"text": matrix})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="two sources for the modality 'text'"):
        add_features(made, ["title"], "tfidf", None)


def test_a_byte_order_mark_changes_no_id(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("item,user\n007,1\n007,2\n", encoding="utf-8-sig")
    assert bring(path).items["item"].to_list() == ["007"]


def test_what_is_not_utf_8_is_named(tmp_path: Path) -> None:
    for text in ("user,item,näme\na,x,1\n", "user,item,name\na,x,ä\n"):
        (tmp_path / "t.csv").write_bytes(text.encode("latin-1"))
        with pytest.raises(DataError, match=r"t\.csv cannot be read[\s\S]*UTF-8"):
            bring(tmp_path / "t.csv")


def test_ids_that_no_signed_integer_holds_are_named(tmp_path: Path) -> None:
    rows = pl.DataFrame({"user": [1, 2], "item": [3, 2**63]}, schema_overrides={"item": pl.UInt64})
    rows.write_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"'item' holds ids that are too large\s+got:\s+9223372"):
        bring(tmp_path / "t.parquet")


def test_nan_is_no_rating_and_no_time(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    nan = float("nan")
    rows = {"user": ["a", "a"], "item": ["x", "y"], "rating": [1.0, nan], "timestamp": [nan, 1.0]}
    pl.DataFrame(rows).write_parquet(path)
    with pytest.raises(DataError, match="1 rows have no rating"):
        bring(path, min_rating=0)
    with pytest.raises(DataError, match="1 interactions have no timestamp"):
        bring(path, split="leave-last-out")


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([[1.0, 2.0], None], "1 items have no list"),
        ([[1.0, 2.0], [1.0]], r"differ in length\s+got:\s+\[1, 2\]"),
        ([["a"], ["b"]], "no features"),
        ([[1.0, None], [1.0, 2.0]], "row 0"),
    ],
)
def test_lists_that_make_no_matrix_are_named(
    lists: list[list[object]], message: str, tmp_path: Path
) -> None:
    pl.DataFrame({"item": ["x", "007"], "f": lists}).write_parquet(tmp_path / "f.parquet")
    with pytest.raises(DataError, match=message):
        bring(csv(tmp_path, ROWS), modalities={"f": tmp_path / "f.parquet"})  # type: ignore[arg-type]


def test_tables_without_an_item_column_are_told_how_to_name_it(tmp_path: Path) -> None:
    table = csv(tmp_path, ROWS)  # type: ignore[arg-type]
    pl.DataFrame({"asin": ["x"], "a": [1.0]}).write_parquet(tmp_path / "f.parquet")
    for given in ({"items": tmp_path / "f.parquet"}, {"modalities": {"f": tmp_path / "f.parquet"}}):
        with pytest.raises(DataError, match="rename the column with the items' ids to item"):
            bring(table, **given)
