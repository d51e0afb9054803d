"""Training by several processes that torchrun has started.

::

    torchrun --nproc-per-node 2 -m mmgrec train DATA --out RUN

Models that do not depend on each other are dealt out (`Processes.teams`). Of a model that several
train every process draws the same batches and keeps every n-th user of them;
DistributedDataParallel averages the gradients, so that all take the step of one process with the
whole batch. The first process reports, and writes the tokeniser and the artifact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmgrec_engine.errors import BackendError

PATIENCE = timedelta(days=2)
"""How long processes wait for the first one, which may tokenise for hours. The death of one is
noticed sooner: torchrun ends the others."""


@dataclass(frozen=True)
class Processes:
    """Number ``rank`` of ``count`` processes that work together; ``group`` None: all there are."""

    rank: int = 0
    count: int = 1
    group: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def parallel(self, module: nn.Module) -> nn.Module:
        """Return a module whose backward pass averages gradients over the processes."""
        if self.count == 1:
            return module
        # A step may leave parameters out: the map of histories where all users have a vector.
        return DistributedDataParallel(
            module,
            process_group=self.group,
            broadcast_buffers=False,
            find_unused_parameters=True,
        )

    def share(self, rows: Tensor) -> Tensor:
        """Return this process's rows of a batch that all have drawn; there may be none."""
        return rows[self.rank :: self.count]

    def total(self, *values: float) -> list[float]:
        """Return the sums of values over the processes; all have to call it."""
        sums = torch.tensor(values, dtype=torch.float64)
        if self.count > 1:
            dist.all_reduce(sums, group=self.group)
        return [float(value) for value in sums]

    def first_says(self, ask: Callable[[], bool]) -> bool:
        """Return what the first process answers; all have to call it."""
        return self.total(float(self.first and ask()))[0] > 0

    def teams(self, tasks: int) -> tuple[range, Processes]:
        """Deal out tasks; return this process's, and the processes that share each of these.

        ::

            teams     = one per task, at most one per process
            process r is in team r mod teams, and team t has the tasks t, t + teams, ...

        All have to call it. Process t is the first one of team t.
        """
        teams = min(tasks, self.count)
        number = self.rank % teams
        own = range(number, tasks, teams)
        if teams == 1:
            return own, self
        if teams == self.count:
            return own, ALONE
        # Every process has to make the groups of all teams.
        ranks = [range(team, self.count, teams) for team in range(teams)]
        groups = [dist.new_group(list(members), timeout=PATIENCE) for members in ranks]
        return own, Processes(self.rank // teams, len(ranks[number]), groups[number])

    def to_first(self, tensor: Tensor, owner: int) -> None:
        """Fill the first process's tensor, on the CPU, with that of process ``owner``."""
        if owner != 0 and self.rank == owner:
            dist.send(tensor, 0)
        elif owner != 0 and self.first:
            dist.recv(tensor, owner)

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """Let the first process through, and the others when it is done."""
        if self.count > 1 and not self.first:
            dist.barrier()
        yield
        if self.count > 1 and self.first:
            dist.barrier()

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Say so where a collective call fails because another process has ended."""
        try:
            yield
        except RuntimeError as error:
            if self.count == 1 or not _is_connection(error):
                raise
            raise BackendError(
                "another process of this training has ended, so this one cannot go on",
                value=str(error).splitlines()[0],
                remedy="see its own message; the same command goes on from the last checkpoint",
            ) from error


ALONE = Processes()


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the other processes where torchrun has started this one, else be alone.

    Raises
    ------
    BackendError
        More processes than GPUs.
    """
    if not dist.is_torchelastic_launched():
        yield ALONE
        return
    if device == "cuda":
        _take_gpu(dist.get_node_local_rank())
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def weighted(loss: Tensor, own: int, whole: int, processes: Processes) -> Tensor:
    """Return a mean over ``own`` terms such that its mean over processes is that of the whole."""
    return loss * (own / whole * processes.count)


def _take_gpu(number: int) -> None:
    gpus = torch.cuda.device_count()
    if number >= gpus:
        raise BackendError(
            "more processes than GPUs", value=f"process {number}", allowed=f"{gpus} on this machine"
        )
    torch.cuda.set_device(number)


def _is_connection(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or "gloo" in text or "connection" in text
