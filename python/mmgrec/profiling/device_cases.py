"""One constrained step on a GPU, ours beside a plain torch step over a CSR trie on the same GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mmgrec.profiling.cases import Case
from mmgrec.profiling.trie_cases import BEAM_BYTES, compare_scores
from mmgrec.profiling.trie_catalogues import SKEWS, random_catalogue
from mmgrec.profiling.trie_keys import SIZES
from mmgrec_engine import _native
from mmgrec_engine.ops.constrained_topk import Beams, constrained_topk
from mmgrec_engine.ops.work import Work

ITEMS, LEVEL = 1_000_000, 2
USERS, WIDTHS = (1, 64), (10, 50)


def device_step_cases(device: str = "cuda") -> Iterator[Callable[[], Case]]:
    """Yield the makers of all cases: kind of catalogue, users, beams."""
    for kind in SKEWS:
        for users in USERS:
            for width in WIDTHS:
                yield partial(_case, kind, users, width, device)


def _case(kind: str, users: int, width: int, device: str) -> Case:
    step = DeviceStep(kind, users, width, device)
    return Case(
        bench="constrained_topk",
        shape={"N": ITEMS, "catalogue": kind, "level": LEVEL, "B": users, "M": width}
        | {"children": step.num_children},
        ours={step.backend: step.ours},
        baselines={
            "torch_csr": step.torch_csr,
            "torch_csr_most_known": partial(step.torch_csr, step.most_children),
        },
        check=step.check,
        work=step.work(),
        items=users,
    )


class DeviceStep:
    """Beams before their third token, and two ways to go on with them on a device.

    "torch_csr" asks how many children the beams have, which waits for the device;
    "torch_csr_most_known" is told, and can be captured as our step can.
    """

    def __init__(self, kind: str, users: int, width: int, device: str) -> None:
        catalogue = random_catalogue(kind, ITEMS)
        self._trie, self._csr = catalogue.trie, catalogue.csr.to(device)
        self._width = width
        self.backend = "cuda" if device == "cuda" else "native"
        rng = np.random.default_rng(2)
        beams = _native.Beams(self._trie.native, users, width)
        beams.begin(None)
        for level in range(LEVEL):
            shape = (users, 1 if level == 0 else width, SIZES[level])
            beams.step(rng.standard_normal(shape, np.float32), False)
        self._scores = torch.from_numpy(beams.scores()).to(device)
        leaves = torch.from_numpy(beams.leaves()).to(device)
        self._nodes = self._csr.nodes_of(LEVEL - 1, leaves)
        starts = self._csr.starts[LEVEL - 1]
        self._beams = Beams(starts[self._nodes], starts[self._nodes + 1], self._scores)
        shape = (users, width, SIZES[LEVEL])
        self._logits = torch.from_numpy(rng.standard_normal(shape, np.float32)).to(device)
        children = self._csr.num_children(LEVEL, self._nodes)
        self.num_children, self.most_children = int(children.sum()), int(children.max())

    def ours(self) -> Tensor:
        """Return the scores ``[B, W]`` of our step."""
        return constrained_topk(
            self._trie, LEVEL, self._beams, self._logits, self._width, backend=self.backend
        ).scores

    def torch_csr(self, most: int | None = None) -> Tensor:
        """Return the scores ``[B, W]`` of the baseline."""
        return self._csr.step_with_origin(
            LEVEL, self._nodes, self._scores, self._logits, self._width, most
        )[0]

    def check(self) -> None:
        """Raise where the methods' scores differ."""
        found = {self.backend: self.ours(), "torch_csr": self.torch_csr()}
        compare_scores({**found, "torch_csr_most_known": self.torch_csr(self.most_children)})

    def work(self) -> Work:
        """Count what a step cannot do without, as of `mmgrec.profiling.trie_cases.Step.work`."""
        leaves = int((self._beams.hi - self._beams.lo).sum())
        moved = 4 * self.num_children + leaves + 2 * BEAM_BYTES * self._scores.numel()
        return Work(flops=3 * self.num_children, bytes=moved)
