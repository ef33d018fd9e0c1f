"""Page sizes and list limits of the ELBv2 API as AWS documents them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.elbv2.exceptions import ELBClientError
from moto.elbv2.models import ELBv2Backend
from moto.elbv2.responses import ELBV2Response

from lab.aws.core import Lab

PAGE = 400
LISTED = 20
# Call -> its lists of at most 20 entries.
LIMITED = {
    "describe_tags": ("ResourceArns",),
    "add_tags": ("ResourceArns",),
    "remove_tags": ("ResourceArns",),
    "describe_target_groups": ("TargetGroupArns", "Names"),
    "describe_load_balancers": ("LoadBalancerArns", "Names"),
    "describe_listeners": ("ListenerArns",),
    "describe_rules": ("RuleArns",),
}
# Call -> where its answer has the list, and the attribute that tells the entries apart.
PAGED = {
    "describe_target_groups": ("TargetGroups", "arn"),
    "describe_load_balancers": ("LoadBalancers", "arn"),
    "describe_listeners": ("Listeners", "arn"),
    "describe_rules": ("Rules", "arn"),
}


def install(_lab: Lab) -> None:
    """Limit the lists of each call and page its answer."""
    for name, parameters in LIMITED.items():
        original = getattr(ELBV2Response, name)
        replacement = _paged(original, *PAGED[name]) if name in PAGED else original
        setattr(ELBV2Response, name, _limited(replacement, parameters))
    describe = ELBv2Backend.describe_tags

    def describe_tags(self: Any, resource_arns: list[str]) -> dict[str, dict[str, str]]:
        for arn in resource_arns:
            self._get_resource_by_arn(arn)
        return describe(self, resource_arns)

    ELBv2Backend.describe_tags = describe_tags


def page(entries: list[Any], key: str, size: int, marker: str | None) -> tuple[list[Any], str | None]:
    """Return a page and the marker of the next, None at the end; raises ELBClientError for an unknown marker."""
    start = 0
    if marker:
        keys = [getattr(entry, key) for entry in entries]
        if marker not in keys:
            raise ELBClientError("ValidationError", f"'{marker}' is not a valid marker")
        start = keys.index(marker) + 1
    found = entries[start : start + size]
    return found, getattr(found[-1], key) if found and start + size < len(entries) else None


def _limited(original: Callable[[Any], Any], parameters: tuple[str, ...]) -> Callable[[Any], Any]:
    def method(self: Any) -> Any:
        for name in parameters:
            if len(self._get_param(name, [])) > LISTED:
                message = (
                    f"1 validation error detected: Value at '{name[0].lower()}{name[1:]}' failed to satisfy "
                    f"constraint: Member must have length less than or equal to {LISTED}"
                )
                raise ELBClientError("ValidationError", message)
        return original(self)

    method.__name__ = original.__name__
    return method


def _paged(original: Callable[[Any], Any], result: str, key: str) -> Callable[[Any], Any]:
    def method(self: Any) -> Any:
        size, marker = self._get_int_param("PageSize", PAGE), self._get_param("Marker")
        if not 1 <= size <= PAGE:
            raise ELBClientError("ValidationError", f"PageSize must be between 1 and {PAGE}")
        # moto pages some of these calls, by its own sizes: let it answer in full.
        self.params = dict(self.params) | {"Marker": None, "PageSize": 1 << 30}
        entries = list(original(self).result[result])
        found, following = page(entries, key, size, marker)
        return ActionResult({result: found, "NextMarker": following})

    method.__name__ = original.__name__
    return method
