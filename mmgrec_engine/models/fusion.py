"""Fusion of any number of modalities into one vector per item."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Fusion(nn.Module):
    """Project every modality, average over those an item has.

    ::

        z_m = (x_m - mean_m) / std_m                    statistics of the rows that are present
        h   = mean over present m of (W_m z_m + b_m)    a learned vector where none is present

    Parameters
    ----------
    widths : mapping
        Modality name to feature width.
    out_width : int
        Width of the fused vector.

    Notes
    -----
    The statistics are buffers, so that items that arrive later are standardised alike.
    """

    def __init__(self, widths: Mapping[str, int], out_width: int) -> None:
        super().__init__()
        self.names = sorted(widths)
        self.project = nn.ModuleDict({n: nn.Linear(widths[n], out_width) for n in self.names})
        self.missing = nn.Parameter(torch.zeros(out_width))
        for name in self.names:
            self.register_buffer(f"mean_{name}", torch.zeros(widths[name]))
            self.register_buffer(f"std_{name}", torch.ones(widths[name]))

    @torch.no_grad()
    def fit(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> None:
        """Take the column statistics from the rows that are present."""
        for name in self.names:
            rows = features[name][present[name]]
            if len(rows) < 2:
                continue
            getattr(self, f"mean_{name}").copy_(rows.mean(0))
            # A constant column carries nothing; dividing by its zero deviation would make NaN.
            getattr(self, f"std_{name}").copy_(rows.std(0).clamp_min(1e-6))

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Fuse ``{name: [N, D_name]}`` with masks ``{name: [N] bool}`` into ``[N, out_width]``."""
        total = torch.zeros((), device=self.missing.device)
        count = torch.zeros_like(total)
        for name in self.names:
            mean, std = getattr(self, f"mean_{name}"), getattr(self, f"std_{name}")
            mask = present[name][:, None].to(features[name].dtype)
            total = total + mask * self.project[name]((features[name] - mean) / std)
            count = count + mask
        fused = total / count.clamp_min(1.0)
        return torch.where(count > 0, fused, self.missing)
