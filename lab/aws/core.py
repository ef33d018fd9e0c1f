"""What the parts of the lab's AWS share: the lock around moto, the settings, and the chain that each call passes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lab.aws.calls import Call, Response
from lab.aws.settings import Settings
from lab.rds.host import Host
from lab.rds.tasks import Tasks

Proceed = Callable[[Call], Response]
Layer = Callable[[Call, Proceed], Response]
Route = Callable[[dict[str, str], Any], Any]
NodeMaker = Callable[[str, str, Path, Callable[[dict[str, Any]], None]], Any]


class Lab:
    """The running lab. Overlay files add layers, routes and loops to it when they are installed."""

    def __init__(self, state: Path, settings: Settings) -> None:
        self.state = state
        self.settings = settings
        # moto is not made for threads; each call and each look at its memory takes this lock.
        self.lock = threading.RLock()
        # Set when a call changed load balancing, so that what follows it need not wait for its next turn.
        self.changed = threading.Event()
        self.layers: list[Layer] = []
        self.routes: dict[tuple[str, str], Route] = {}
        self.loops: list[Callable[[], None]] = []
        self.closers: list[Callable[[], None]] = []
        # Makes a node of the data plane from its name, address, directory and what to call for each request.
        self.node_maker: NodeMaker = IdleNode
        self.on_request: Callable[[dict[str, Any]], None] = lambda _event: None
        self.tasks = Tasks(lambda: self.settings.rds_seconds)
        # Runs the PostgreSQL clusters of RDS. None: only the API.
        self.engine: Host | None = None
        self.route("GET", "/settings", lambda _query, _document: vars(self.settings))
        self.route("POST", "/settings", self._change)

    def layer(self, layer: Layer) -> None:
        """Add a layer outside of those there are."""
        self.layers.append(layer)

    def route(self, method: str, path: str, handler: Route) -> None:
        """Answer `method path` (below /lab) with what `handler(query, document)` returns, as JSON."""
        self.routes[method, path] = handler

    def loop(self, function: Callable[[], None]) -> None:
        """Run a function that never returns in a thread of its own once the server starts."""
        self.loops.append(function)

    def run(self, call: Call, innermost: Proceed) -> Response:
        """Send a call through all layers."""
        proceed = innermost
        for layer in self.layers:
            proceed = _bound(layer, proceed)
        return proceed(call)

    def close(self) -> None:
        """Stop what runs outside this process."""
        for closer in self.closers:
            closer()

    def load_balancing(self) -> Iterator[Any]:
        """Yield moto's ELBv2 back ends that hold anything; hold the lock while using them."""
        from moto.elbv2.models import elbv2_backends

        for regions in list(elbv2_backends.values()):
            for backend in list(regions.values()):
                if backend.load_balancers or backend.target_groups:
                    yield backend

    def _change(self, _query: dict[str, str], document: Any) -> dict[str, float]:
        self.settings = self.settings.changed(document or {})
        self.changed.set()
        return vars(self.settings)


class IdleNode:
    """A node without a data plane: takes every state and does nothing."""

    def __init__(self, *_arguments: Any) -> None:
        pass

    def apply(self, _state: dict[str, Any]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def _bound(layer: Layer, proceed: Proceed) -> Proceed:
    return lambda call: layer(call, proceed)
