"""The data plane follows the API later: each load balancer node after its own lag."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from lab.aws.calls import Call, Response
from lab.aws.core import Lab, Proceed
from lab.aws.data_plane import TURN, Follower, Node, certificate_pem, configuration, health_of
from lab.aws.settings import NODES
from lab.settings import node_addresses

log = logging.getLogger(__name__)

FIRST_FREE_BLOCK = 100


def install(lab: Lab) -> None:
    """Follow every application load balancer with two nodes, and tell through /lab/nodes how far they are."""
    plane = DataPlane(lab)

    def wake(call: Call, proceed: Proceed) -> Response:
        response = proceed(call)
        if call.service == "elbv2" and call.mutating:
            lab.changed.set()
        return response

    lab.layer(wake)
    lab.loop(plane.run)
    lab.closers.append(plane.close)
    lab.route("GET", "/nodes", lambda _query, _document: plane.report())


class DataPlane:
    """The nodes of all load balancers."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._followers: dict[str, dict[str, Follower]] = {}

    def run(self) -> None:
        """Follow the control plane for ever."""
        while True:
            self._lab.changed.wait(TURN)
            self._lab.changed.clear()
            try:
                self.turn()
            except Exception:
                log.exception("the data plane's loop")

    def turn(self) -> None:
        """Look at the control plane once and tell the nodes."""
        wanted: dict[str, tuple[Any, ...]] = {}
        with self._lab.lock:
            for backend in self._lab.load_balancing():
                health = health_of(backend)

                def certificate(arn: str, backend: Any = backend) -> str | None:
                    return certificate_pem(backend.account_id, backend.region_name, arn)

                for arn, balancer in backend.load_balancers.items():
                    # A load balancer starts with its first listener, when its tags are there to tell its block.
                    if balancer.type == "application" and (balancer.listeners or arn in self._followers):
                        tags = backend.tagging_service.get_tag_dict_for_resource(arn)
                        wanted[arn] = (tags.get("lab:block"), configuration(balancer, backend, certificate), health)
        for arn in [arn for arn in self._followers if arn not in wanted]:
            for follower in self._followers.pop(arn).values():
                follower.close()
        for arn, (block, state, health) in wanted.items():
            if arn not in self._followers:
                self._start(arn, block)
            for follower in self._followers[arn].values():
                follower.offer(state, health)

    def close(self) -> None:
        """Stop all nodes."""
        for follower in [follower for nodes in list(self._followers.values()) for follower in nodes.values()]:
            follower.close()

    def report(self) -> dict[str, Any]:
        """Return for each load balancer's ARN what its nodes do."""
        return {
            arn: {node: follower.report() for node, follower in followers.items()}
            for arn, followers in list(self._followers.items())
        }

    def _start(self, arn: str, block: str | None) -> None:
        name = "-".join(arn.rpartition(":")[2].split("/")[2:])
        self._followers[arn] = {
            node: Follower(self._maker(f"{name}-{node}", address), self._lag(node), address)
            for node, address in zip(NODES, self._free_addresses(block), strict=True)
        }

    def _maker(self, name: str, address: str) -> Callable[[], Node]:
        directory = self._lab.state / "alb" / name

        def make() -> Node:
            directory.mkdir(parents=True, exist_ok=True)
            return self._lab.node_maker(name, address, directory, self._lab.on_request)

        return make

    def _lag(self, node: str) -> Callable[[], float]:
        return lambda: self._lab.settings.lag(node)

    def _free_addresses(self, block: str | None) -> tuple[str, str]:
        taken = {followers["a"].address for followers in self._followers.values()}
        wanted = [int(block)] if block and block.isdigit() and 0 < int(block) < FIRST_FREE_BLOCK else []
        for number in [*wanted, *range(FIRST_FREE_BLOCK, 255)]:
            if (addresses := node_addresses(number))[0] not in taken:
                return addresses
        raise RuntimeError("all blocks of loopback addresses are taken by load balancers")
