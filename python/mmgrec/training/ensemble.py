"""Vectors of several graph encoders as one: dot products that are the mean of their scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def join_members(
    users: Sequence[Tensor], items: Sequence[Tensor], width: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return joint vectors of encoders that differ in their seeds.

    ::

        S = mean over members of users_m items_m^T = U V^T      U, V: members side by side
        users items^T = the best approximation of S of a rank   truncated SVD, by QR of U and V

    What members disagree about is noise of their seeds and weighs little in S: of four members the
    first D directions hold nearly all that the mean says.

    Parameters
    ----------
    users, items : sequences of Tensor
        ``[U, D]`` and ``[N, D]`` of each member.
    width : int, optional
        W of the joint vectors, by default D.

    Returns
    -------
    users, items : Tensor
        ``[U, W]`` and ``[N, W]``. Items have length 1 in the mean. One member stays as it is.
    """
    if len(items) == 1:
        return users[0], items[0]
    return truncated([x / len(users) for x in users], items, width or items[0].shape[1])


def truncated(
    users: Sequence[Tensor], items: Sequence[Tensor], width: int
) -> tuple[Tensor, Tensor]:
    """Return vectors of a width for the sum of the parts' dot products, by truncated SVD.

    Items have length 1 in the mean. The matrix of all scores is never made.
    """
    (qu, ru), (qv, rv) = (torch.linalg.qr(torch.cat(list(x), 1).double()) for x in (users, items))
    left, size, right = torch.linalg.svd(ru @ rv.T, full_matrices=False)
    root = size[:width].sqrt()
    joint_users = _of_width(qu @ (left[:, :width] * root), width)
    joint_items = _of_width(qv @ (right[:width].T * root), width)
    length = joint_items.norm(dim=1).mean()
    return (joint_users * length).float(), (joint_items / length).float()


def projection(members: Sequence[Tensor], joint: Tensor) -> Tensor:
    """Return P ``[M D, D]`` with [members side by side] P = joint, by least squares."""
    side_by_side = torch.cat(list(members), 1).double()
    found: Tensor = torch.linalg.lstsq(side_by_side, joint.double(), driver="gelsd").solution
    return found.float()


def _of_width(vectors: Tensor, width: int) -> Tensor:
    """Fill up with zeros what has fewer dimensions (fewer users or items than the width)."""
    return F.pad(vectors, (0, width - vectors.shape[1]))
