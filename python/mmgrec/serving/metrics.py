"""What `/metrics` reports; summed over all workers where there are several."""

from __future__ import annotations

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0),
)
USERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """One process's figures.

    Parameters
    ----------
    folder : str, optional
        Where the workers keep theirs (`prometheus_client`'s multiprocess mode, which the variable
        PROMETHEUS_MULTIPROC_DIR switches on before the library is imported); None: one process.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder
        self.registry = registry = CollectorRegistry()
        if folder is None:
            prometheus_client.ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"mmgrec_{name}", text, labels, registry=registry)

        def seconds(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(
                f"mmgrec_{name}_seconds", text, labels, buckets=SECONDS, registry=registry
            )

        def gauge(name: str, text: str, mode: str, *labels: str) -> Gauge:
            return Gauge(
                f"mmgrec_{name}",
                text,
                labels,
                registry=registry,
                multiprocess_mode=mode,  # type: ignore[arg-type]
            )

        self.requests = counter("requests", "Answered HTTP requests.", "route", "status")
        self.request_seconds = seconds("request", "From head to last byte of the answer.", "route")
        self.queue_seconds = seconds("queue", "A request's wait for its batch.")
        self.compute_seconds = seconds("compute", "One batch in the engine.", "lane")
        self.batch_users = Histogram(
            "mmgrec_batch_users", "Users of a batch.", ["lane"], buckets=USERS, registry=registry
        )
        self.users = counter("recommended_users", "Users that were answered.")
        self.rejected = counter("rejected_requests", "Full queue or missed deadline.", "reason")
        self.queued_users = gauge("queued_users", "Users that wait.", "livesum", "lane")
        self.edits = counter("edited_items", "Items inserted, replaced or deleted.", "kind")
        self.reloads = counter("reloads", "Artifacts loaded or refused after the first.", "outcome")
        self.load_seconds = seconds("load", "Loading an artifact.")
        self.ready = gauge("ready_workers", "Workers that answer requests.", "livesum")
        self.items = gauge("items", "Items that can be recommended.", "livemax")

    def batch(self, lane: str, users: int, seconds: float) -> None:
        """Count a batch."""
        self.compute_seconds.labels(lane).observe(seconds)
        self.batch_users.labels(lane).observe(users)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self.requests.labels(route, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        if self._folder is None:
            return prometheus_client.generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together, path=self._folder)  # type: ignore[no-untyped-call]
        return prometheus_client.generate_latest(together)
