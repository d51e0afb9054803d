"""An ensemble's encoders dealt out to processes, and one encoder that several train."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmgrec.training.distributed import ALONE, Processes, joined
from mmgrec.training.graph import GraphStage, GraphTraining
from mmgrec.training.loop import LoopConfig, epoch_generator
from mmgrec_engine.errors import BackendError
from mmgrec_engine.models.config import GraphEncoderConfig
from tests_shared import make_dataset

COUNT = 3


class Apart(Processes):
    """A process that does not average; the test does."""

    def parallel(self, module: nn.Module) -> nn.Module:
        return module


def stage_of(loss: str, processes: Processes) -> GraphStage:
    training = GraphTraining(
        loop=LoopConfig(epochs=1, learning_rate=0.1),
        loss=loss,  # type: ignore[arg-type]
        batch_users=8,
        batch_interactions=23,
        edge_dropout=0.2,
    )
    shape = GraphEncoderConfig(width=8, layers=2, propagation="graphsage", neighbours=3)
    torch.manual_seed(1)
    # 33 users in batches of 8: of the last batch two processes have nobody.
    return GraphStage(make_dataset(33), shape, training, processes=processes)


def losses_and_gradients(stage: GraphStage) -> list[tuple[Tensor, list[Tensor]]]:
    found = []
    stage.model.train()
    for loss in stage.batches(0, epoch_generator(0, "graph", 0)):
        gradients = torch.autograd.grad(loss, list(stage.model.parameters()), allow_unused=True)
        zero = torch.zeros(())
        found.append((loss.detach(), [zero if g is None else g for g in gradients]))
    return found


@pytest.mark.parametrize("loss", ["softmax", "bpr"])
def test_the_mean_over_processes_is_the_step_of_one(loss: str) -> None:
    whole = losses_and_gradients(stage_of(loss, ALONE))
    shares = [losses_and_gradients(stage_of(loss, Apart(rank, COUNT))) for rank in range(COUNT)]
    assert len(whole) > 3
    for batch, (expected, gradients) in enumerate(whole):
        parts = [share[batch] for share in shares]
        torch.testing.assert_close(torch.stack([p[0] for p in parts]).mean(), expected)
        for number, gradient in enumerate(gradients):
            mean = torch.stack([p[1][number] for p in parts]).mean(0)
            torch.testing.assert_close(mean, gradient)


@pytest.mark.parametrize(("tasks", "count"), [(4, 2), (4, 3), (1, 1), (3, 3), (1, 2), (2, 5)])
def test_every_task_has_one_team_and_every_process_is_in_one(
    tasks: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dist, "new_group", lambda ranks, timeout: ranks)
    teams: dict[int, list[tuple[int, Processes]]] = {task: [] for task in range(tasks)}
    for rank in range(count):
        own, team = Processes(rank, count).teams(tasks)
        assert len(own) >= 1
        for task in own:
            teams[task].append((rank, team))
    for task, members in teams.items():
        ranks = [rank for rank, _ in members]
        assert ranks[0] == task % count  # the first one, which hands the result over
        assert [team.rank for _, team in members] == list(range(len(members)))
        assert {team.count for _, team in members} == {len(members)}
        if 1 < len(members) < count:
            assert all(team.group == ranks for _, team in members)  # type: ignore[comparison-overlap]
    assert len({rank for members in teams.values() for rank, _ in members}) == count


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Process 5 of 8, the second on its machine of two GPUs, as far as torch is asked."""
    seen: dict[str, Any] = {}
    for name, value in {
        "is_torchelastic_launched": lambda: True,
        "get_node_local_rank": lambda: seen.get("local", 1),
        "init_process_group": lambda backend, timeout: seen.update(backend=backend),
        "get_rank": lambda: 5,
        "get_world_size": lambda: 8,
        "destroy_process_group": lambda: None,
    }.items():
        monkeypatch.setattr(dist, name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: seen.update(gpu=number))
    return seen


def test_a_process_takes_the_gpu_of_its_number_on_the_machine(launched: dict[str, Any]) -> None:
    with joined("cuda") as processes:
        assert (processes.rank, processes.count) == (5, 8)
    assert launched == {"gpu": 1, "backend": "cpu:gloo,cuda:nccl"}


def test_more_processes_than_gpus_are_refused(launched: dict[str, Any]) -> None:
    launched["local"] = 2
    with pytest.raises(BackendError, match="more processes than GPUs"), joined("cuda"):
        pass
