"""Deployment files fit the server: metrics, mounted files, the Triton model without Triton."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mmgrec.data.dataset import Dataset
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import ConfigError
from mmgrec_engine.settings import settings

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
from prometheus_client import Counter, Gauge, Histogram

DEPLOY = Path(__file__).parents[2] / "deploy"


def exported() -> dict[str, set[str]]:
    """Names of the samples of `/metrics`, and their labels."""
    from mmgrec.serving.metrics import Metrics

    found = {}
    for metric in vars(Metrics()).values():
        if not isinstance(metric, Counter | Gauge | Histogram):
            continue
        (described,) = metric.describe()
        ends = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
        for end in ends[described.type]:
            own = {"le"} if end == "_bucket" else set()
            found[described.name + end] = own | set(metric._labelnames)
    return found


def test_the_dashboard_asks_for_metrics_and_labels_that_there_are() -> None:
    known = exported()
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
    asked = set()
    for target in targets:
        names = re.findall(r"mmgrec_\w+", target["expr"])
        assert set(names) <= set(known), target
        asked |= set(names)
        grouped = [
            name for by in re.findall(r"by \(([^)]*)\)", target["expr"]) for name in by.split(", ")
        ]
        selected = re.findall(r"[{,]\s*(\w+)(?:=|!|~)", target["expr"])
        shown = re.findall(r"{{(\w+)}}", target["legendFormat"])
        assert {*grouped, *selected, *shown} <= set.union(*(known[name] for name in names)), target
    assert len(asked) >= 10


def test_compose_mounts_files_that_there_are() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    mounted = re.findall(r"- (\./[^:]+):", text)
    assert len(mounted) == 3
    assert all((DEPLOY / path).exists() for path in mounted)
    dockerfile = re.search(r"dockerfile: (\S+)", text)
    assert dockerfile is not None
    assert (DEPLOY.parent / dockerfile[1]).exists()


def test_the_container_is_started_with_options_and_asked_at_a_path_that_there_are() -> None:
    from mmgrec.cli.serve import serve

    compose, docker = ((DEPLOY / name).read_text() for name in ("compose.yaml", "Dockerfile"))
    entry = re.search(r"^ENTRYPOINT (.*)$", docker, re.MULTILINE)
    command = re.search(r"command: (.*)$", compose, re.MULTILINE)
    assert entry is not None
    assert command is not None
    words = [*json.loads(entry[1]), *json.loads(command[1])]
    assert words[:2] == ["mmgrec", "serve"]
    options = {word.removeprefix("--") for word in words if word.startswith("--")}
    parameters = inspect.signature(serve).parameters
    assert options <= set(parameters)
    port = parameters["port"].default
    assert f"HTTPConnection('127.0.0.1', {port}); c.request('GET', '/v2/health/ready')" in docker
    assert f"EXPOSE {port}" in docker
    assert f'"{port}:{port}"' in compose
    assert f"mmgrec:{port}" in (DEPLOY / "prometheus.yaml").read_text()


def test_without_a_token_in_the_shell_the_container_gets_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # An empty one is refused, so compose must not make one of a variable that is not set.
    monkeypatch.setenv("MMGREC_SERVE_TOKEN", "")
    with pytest.raises(ConfigError, match="MMGREC_SERVE_TOKEN"):
        settings.__wrapped__()
    assert re.search(r"^ +- MMGREC_SERVE_TOKEN$", (DEPLOY / "compose.yaml").read_text(), re.M)


class Tensor:
    """A stand-in for Triton's."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self.name, self.array = name, array

    def as_numpy(self) -> np.ndarray:
        return self.array


def backend_utils() -> ModuleType:
    module = ModuleType("triton_python_backend_utils")

    def get_input_tensor_by_name(request: dict[str, Tensor], name: str) -> Tensor | None:
        return request.get(name)

    def response(output_tensors: list[Tensor], error: str | None = None) -> SimpleNamespace:
        return SimpleNamespace(tensors={t.name: t.array for t in output_tensors}, error=error)

    module.Tensor = Tensor  # type: ignore[attr-defined]
    module.TritonError = str  # type: ignore[attr-defined]
    module.InferenceResponse = response  # type: ignore[attr-defined]
    module.get_input_tensor_by_name = get_input_tensor_by_name  # type: ignore[attr-defined]
    return module


@pytest.fixture
def triton(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", backend_utils())
    spec = importlib.util.spec_from_file_location(
        "triton_model", DEPLOY / "triton" / "mmgrec" / "1" / "model.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "triton_model", module)
    spec.loader.exec_module(module)
    model = module.TritonPythonModel()
    run = {"run": {"string_value": str(run_folder)}}
    model.initialize({"model_config": json.dumps({"parameters": run})})
    return model


def request(*histories: list[str], k: int | None = None) -> dict[str, Tensor]:
    width = max(map(len, histories))
    rows = [[i.encode() for i in row] + [b""] * (width - len(row)) for row in histories]
    tensors = {"HISTORY": Tensor("HISTORY", np.array(rows, object).reshape(len(rows), width))}
    if k is not None:
        tensors["K"] = Tensor("K", np.full((len(rows), 1), k, np.int32))
    return tensors


def test_triton_answers_as_the_engine_and_a_bad_request_fails_alone(
    triton: Any,  # noqa: ANN401
    run_folder: Path,
) -> None:
    asked = [
        request(["i01", "i03"], k=4),
        request(["nobody"]),
        request(["i05"], k=4),
        request([]),
        request(["i07"]),
        request(["i07"], k=-1),
        {"HISTORY": Tensor("HISTORY", np.array([[b"\xff"]], object))},
    ]
    answers = triton.execute(asked)
    expected = Engine.load(run_folder).recommend([["i01", "i03"], ["i05"]], k=4)
    for row, answer in enumerate((answers[0], answers[2])):
        assert answer.error is None
        assert [i.decode() for i in answer.tensors["ITEMS"][0]] == expected.items[row].tolist()
        assert np.allclose(answer.tensors["SCORES"][0], expected.scores[row], atol=1e-5)
        assert answer.tensors["CERTIFIED"].tolist() == [[expected.certified[row]]]
    assert "nobody" in answers[1].error
    assert "empty" in answers[3].error
    assert answers[4].tensors["ITEMS"].shape == (1, 10)
    assert "k is out of range" in answers[5].error
    assert "not UTF-8" in answers[6].error


def test_a_request_to_triton_may_have_several_users(
    triton: Any,  # noqa: ANN401
    dataset: Dataset,
) -> None:
    everything = dataset.items["item"].to_list()
    (answer,) = triton.execute([request(["i01"], everything[:-2], k=4)])
    items = answer.tensors["ITEMS"]
    assert items.shape == (2, 4)
    assert all(items[0])
    # Two items are left, and two places are filled up.
    assert sorted(items[1, :2].tolist()) == [item.encode() for item in everything[-2:]]
    assert items[1, 2:].tolist() == [b"", b""]
    assert (answer.tensors["SCORES"][1, 2:] == np.finfo(np.float32).min).all()
