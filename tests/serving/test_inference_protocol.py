"""The Open Inference Protocol, spoken by Triton's own client and by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from mmgrec.data.dataset import Dataset
from mmgrec.training.pipeline import Run, train_run
from mmgrec_engine.engine import Engine
from mmgrec_engine.requests import Recommendations
from serving_world import RealServer, copy_run, real_server
from tests_shared import make_dataset, quiet_reporter, small_config

HISTORIES = [["i01", "i03", "i05"], ["i02"]]


@pytest.fixture(scope="module")
def server(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    run = copy_run(run_folder, tmp_path_factory.mktemp("protocol") / "run")
    with real_server(run, "--model-name", "toy") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: RealServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        yield client


@pytest.fixture(scope="module")
def expected(run_folder: Path) -> Recommendations:
    return Engine.load(run_folder).recommend(HISTORIES, k=4, beam_width=20)


def inputs(binary: bool) -> list[triton.InferInput]:
    rows = np.array([["i01", "i03", "i05"], ["i02", "", ""]], dtype=object)
    history = triton.InferInput("history", rows.shape, "BYTES")
    history.set_data_from_numpy(rows, binary_data=binary)
    length = triton.InferInput("history_length", [2], "INT32")
    length.set_data_from_numpy(np.array([3, 1], np.int32), binary_data=binary)
    return [history, length]


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("toy")
    assert client.get_server_metadata()["name"] == "mmgrec"
    model = client.get_model_metadata("toy")
    assert {tensor["name"]: tensor["datatype"] for tensor in model["inputs"]} == {
        "history": "BYTES",
        "history_length": "INT32",
        "user": "BYTES",
    }
    assert client.is_model_ready("toy", model["versions"][0])
    assert not client.is_model_ready("toy", "7")
    assert not client.is_model_ready("other")


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_inference_is_recommendation(
    client: triton.InferenceServerClient,
    expected: Recommendations,
    binary_in: bool,
    binary_out: bool | None,
) -> None:
    outputs = None
    if binary_out is not None:
        names = ("item", "score", "certified", "count")
        outputs = [triton.InferRequestedOutput(n, binary_data=binary_out) for n in names]
    found = client.infer(
        "toy",
        inputs(binary_in),
        outputs=outputs,
        request_id="mine",
        parameters={"k": 4, "beam_width": 20},
    )
    items = found.as_numpy("item")
    if items.dtype == object and isinstance(items[0, 0], bytes):
        items = np.vectorize(bytes.decode, otypes=[object])(items)
    assert items.tolist() == expected.items.tolist()
    np.testing.assert_allclose(found.as_numpy("score"), expected.scores, atol=1e-5)
    assert found.as_numpy("certified").tolist() == expected.certified.tolist()
    assert found.as_numpy("count").tolist() == [4, 4]
    assert found.get_response()["id"] == "mine"


def test_known_users_and_short_lists(client: triton.InferenceServerClient) -> None:
    user = triton.InferInput("user", [1], "BYTES")
    user.set_data_from_numpy(np.array(["u1"], dtype=object))
    found = client.infer("toy", [user], parameters={"k": 60})
    count = int(found.as_numpy("count")[0])
    assert found.as_numpy("item").shape == (1, count)
    assert 20 < count < 40


def test_errors_are_what_the_client_understands(client: triton.InferenceServerClient) -> None:
    with pytest.raises(triton.InferenceServerException, match="unknown model"):
        client.infer("other", inputs(True))
    history = triton.InferInput("history", [1, 1], "BYTES")
    history.set_data_from_numpy(np.array([["nothing"]], dtype=object))
    with pytest.raises(triton.InferenceServerException, match="unknown item"):
        client.infer("toy", [history])
    with pytest.raises(triton.InferenceServerException, match="unknown output"):
        client.infer("toy", inputs(True), outputs=[triton.InferRequestedOutput("price")])
    with pytest.raises(triton.InferenceServerException, match="nobody"):
        client.infer("toy", inputs(True)[1:])


def tensor(**changes: object) -> dict[str, Any]:
    good = {"name": "history", "shape": [1, 2], "datatype": "BYTES", "data": ["i01", "i02"]}
    return {**good, **changes}


@pytest.mark.parametrize(
    "bad",
    [
        tensor(shape=[1, 3]),
        tensor(shape=[-1, 2]),
        tensor(shape=[2**62, 2**62]),
        tensor(shape=[]),
        tensor(datatype="FP8"),
        tensor(datatype="INT64"),
        tensor(datatype="INT8", data=[1, 300]),
        tensor(data=[1, 2]),
        tensor(data=[[[["i01"]]], {"a": 1}]),
        tensor(data=None),
        tensor(data=None, parameters={"binary_data_size": 10**9}),
        tensor(data=None, parameters={"binary_data_size": "8"}),
        tensor(name="future"),
    ],
    ids=lambda value: str(value)[9:70],
)
def test_bad_tensors_are_400_or_422(server: RealServer, bad: dict[str, Any]) -> None:
    answer = httpx.post(f"{server.url}/v2/models/toy/infer", json={"inputs": [bad]})
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("datatype", "data"),
    [("FP32", [1.5]), ("FP64", [1.0]), ("BYTES", ["1"]), ("BOOL", [True]), ("INT32", [3])],
)
def test_lengths_that_are_none_are_400(
    server: RealServer, datatype: str, data: list[object]
) -> None:
    length = {"name": "history_length", "shape": [1], "datatype": datatype, "data": data}
    body = {"inputs": [tensor(), length]}
    answer = httpx.post(f"{server.url}/v2/models/toy/infer", json=body)
    assert answer.status_code == 400, answer.text
    assert "history_length" in answer.json()["error"]


@pytest.mark.parametrize(
    ("size", "raw"),
    [
        *((size, b"") for size in ("99999", "-1", "x", "\u00b2", "9" * 5000)),
        (None, b"\x05\x00\x00\x00abc"),
        (None, b"\xff" * 9),
    ],
)
def test_bad_bytes_behind_the_json_are_400(
    server: RealServer, size: str | None, raw: bytes
) -> None:
    parameters = b'"parameters": {"binary_data_size": %d}' % len(raw)
    text = (
        b'{"inputs": [{"name": "history", "shape": [1, 1], "datatype": "BYTES", %s}]}' % parameters
    )
    headers = {b"inference-header-content-length": (size or str(len(text))).encode("latin-1")}
    url = f"{server.url}/v2/models/toy/infer"
    assert httpx.post(url, content=text + raw, headers=headers).status_code == 400


def test_integer_ids_are_int64(tmp_path: Path) -> None:
    data: Dataset = make_dataset(strings=False)
    run = Run(tmp_path / "run", data, small_config(), "test", 0)
    train_run(run, quiet_reporter(run.work / "logs"))
    engine = Engine.load(tmp_path / "run")
    with (
        real_server(tmp_path / "run") as server,
        triton.InferenceServerClient(server.url.removeprefix("http://")) as client,
    ):
        history = triton.InferInput("history", [1, 2], "INT64")
        history.set_data_from_numpy(np.array([[101, 103]]))
        found = client.infer("mmgrec", [history])
        assert found.as_numpy("item").dtype == np.int64
        assert found.as_numpy("item").tolist() == engine.recommend([[101, 103]]).items.tolist()
