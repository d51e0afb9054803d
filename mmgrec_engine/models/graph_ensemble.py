"""Several graph encoders as one: vectors whose dot products are the mean of the members' scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgrec_engine.models.config import GraphEncoderConfig
from mmgrec_engine.models.graph_encoder import GraphEncoder


class GraphEnsemble(nn.Module):
    """Trained graph encoders and what joins their item vectors.

    ::

        item vector = [vectors of all members] projection

    Parameters
    ----------
    members : sequence of GraphEncoder
        Alike but for their seeds.
    """

    projection: Tensor

    def __init__(self, members: Sequence[GraphEncoder]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        width = members[0].config.width
        # Of one member: the vectors themselves.
        self.register_buffer("projection", torch.eye(len(members) * width, width))

    @classmethod
    def untrained(
        cls, config: GraphEncoderConfig, num_items: int, modality_widths: Mapping[str, int]
    ) -> GraphEnsemble:
        """Build one for later items: room for weights, no users."""
        return cls(
            [GraphEncoder(config, 0, num_items, modality_widths) for _ in range(config.members)]
        )

    @property
    def uses_features(self) -> bool:
        """Whether vectors depend on modalities at all."""
        return self.members[0].fusion is not None

    def join(self, users: Sequence[Tensor], items: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Set the projection by trained members' vectors, and return the joint vectors.

        ::

            S = mean over members of users_m items_m^T = U V^T,  U, V: members side by side
            users items^T = the best approximation of S of rank D  (truncated SVD)
            projection: V projection = items, by least squares

        What members disagree about is noise of their seeds and weighs little in S; of four members
        the first D directions hold nearly all that the mean says.

        Parameters
        ----------
        users, items : sequences of Tensor
            ``[U, D]`` and ``[N, D]`` of each member.

        Returns
        -------
        users, items : Tensor
            ``[U, D]`` and ``[N, D]``. Items have length 1 in the mean.
        """
        if len(items) == 1:
            return users[0], items[0]
        u, v = torch.cat(list(users), 1).double() / len(users), torch.cat(list(items), 1).double()
        (qu, ru), (qv, rv) = torch.linalg.qr(u), torch.linalg.qr(v)
        left, size, right = torch.linalg.svd(ru @ rv.T, full_matrices=False)
        width = self.projection.shape[1]
        root = size[:width].sqrt()
        joint_users = _of_width(qu @ (left[:, :width] * root), width)
        joint_items = _of_width(qv @ (right[:width].T * root), width)
        length = joint_items.norm(dim=1).mean()
        joint_users, joint_items = joint_users * length, joint_items / length
        found = torch.linalg.lstsq(v, joint_items, driver="gelsd").solution
        self.projection.copy_(found.to(self.projection.dtype))
        return joint_users.float(), joint_items.float()

    def encode_new(
        self,
        features: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        count: int,
        *,
        unit_vectors: bool,
    ) -> Tensor:
        """Return vectors ``[count, D]`` of items without interactions, from features alone."""
        vectors = [member.encode_new(features, present, count) for member in self.members]  # type: ignore[operator]
        if unit_vectors:
            vectors = [F.normalize(x, dim=1) for x in vectors]
        return torch.cat(vectors, 1) @ self.projection


def _of_width(vectors: Tensor, width: int) -> Tensor:
    """Fill up with zeros what has fewer dimensions (fewer users or items than the width)."""
    return F.pad(vectors, (0, width - vectors.shape[1]))
