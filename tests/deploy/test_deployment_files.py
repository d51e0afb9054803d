"""Deployment files fit the server: metrics, mounted files, the Triton model without Triton."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mmgrec_engine.engine import Engine

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    pytest.importorskip("prometheus_client")
    from mmgrec.serving.metrics import Metrics

    known = set(re.findall(r"^# HELP (\S+)", Metrics().text().decode(), re.MULTILINE))
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    asked = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"mmgrec_\w+", target["expr"])
    }
    assert len(asked) >= 10
    assert asked <= known


def test_compose_mounts_files_that_there_are() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    mounted = re.findall(r"- (\./[^:]+):", text)
    assert len(mounted) == 3
    assert all((DEPLOY / path).exists() for path in mounted)
    dockerfile = re.search(r"dockerfile: (\S+)", text)
    assert dockerfile is not None
    assert (DEPLOY.parent / dockerfile[1]).exists()


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
    spec.loader.exec_module(module)
    model = module.TritonPythonModel()
    run = {"run": {"string_value": str(run_folder)}}
    model.initialize({"model_config": json.dumps({"parameters": run})})
    return model


def request(*history: str, k: int | None = None) -> dict[str, Tensor]:
    tensors = {"HISTORY": Tensor("HISTORY", np.array([i.encode() for i in history], object))}
    if k is not None:
        tensors["K"] = Tensor("K", np.array([k], np.int32))
    return tensors


def test_triton_answers_as_the_engine_and_a_bad_request_fails_alone(
    triton: Any,  # noqa: ANN401
    run_folder: Path,
) -> None:
    asked = [
        request("i01", "i03", k=4),
        request("nobody"),
        request("i05", k=4),
        request(),
        request("i07"),
    ]
    answers = triton.execute(asked)
    expected = Engine.load(run_folder).recommend([["i01", "i03"], ["i05"]], k=4)
    for row, answer in enumerate((answers[0], answers[2])):
        assert answer.error is None
        assert [i.decode() for i in answer.tensors["ITEMS"]] == expected.items[row].tolist()
        assert np.allclose(answer.tensors["SCORES"], expected.scores[row], atol=1e-5)
    assert "nobody" in answers[1].error
    assert "empty" in answers[3].error
    assert len(answers[4].tensors["ITEMS"]) == 10
