"""Searching on a GPU: beams as one graph there, exact search on the processor beside it."""

from __future__ import annotations

from mmgrec_engine.catalog.state import CatalogState
from mmgrec_engine.decoding.device_search import DeviceSearcher
from mmgrec_engine.decoding.native_search import NativeSearcher
from mmgrec_engine.decoding.searcher import Request, SearchResult


class GpuSearcher:
    """A `Searcher` on a CUDA device.

    ::

        beam search: `DeviceSearcher`, one launch of a graph
        exact search, whose rounds depend on what the last one found: `NativeSearcher`

    Parameters
    ----------
    beams : DeviceSearcher
        Of a model.
    exact : NativeSearcher
        Of the same model.
    """

    backend = "cuda"

    def __init__(self, beams: DeviceSearcher, exact: NativeSearcher) -> None:
        self._beams, self._exact = beams, exact

    @property
    def threads(self) -> int:
        """See `Searcher`; of exact searches."""
        return self._exact.threads

    def search(self, state: CatalogState, request: Request) -> SearchResult:
        """See `Searcher`."""
        if request.exact_limit is not None:
            return self._exact.search(state, request)
        found = self._beams.search(
            state,
            request.slots,
            request.offsets,
            k=request.k,
            beam_width=request.beam_width,
            user_rows=request.user_rows,
            filters=request.filters,
        )
        return SearchResult(*found)
