# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls to AWS that are retried, counted, and fail with a message that helps."""

from __future__ import annotations

from ansible.module_utils.common.warnings import warn
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common import errors
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.clock import Clock
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.retries import Profile, Retry

# Where IAM's prefix is not the name that requests are signed with.
_IAM_PREFIX = {"monitoring": "cloudwatch"}
_IAM_ACTION = {"s3:HeadObject": "s3:GetObject"}


class CallLog:
    """What one module run asked of AWS.

    :ivar calls: the mutating calls in their order, ``{"action", "resource"}``.
    :ivar planned: in check mode, those that the real run would make.
    :ivar reads: answered or failed calls that change nothing; a retry is not counted again.
    """

    def __init__(self):
        self.calls: list = []
        self.planned: list = []
        self.reads = 0
        self.retries: list = []

    def plan(self, action: str, resource: str) -> None:
        """Say in check mode what the real run would call."""
        self.planned.append({"action": action, "resource": resource})

    def result(self) -> dict:
        """The keys ``calls`` and ``api_calls`` of a module's result."""
        counts = {"read": self.reads, "write": len(self.calls), "retried": sum(retry.retries for retry in self.retries)}
        return {"calls": self.calls + self.planned, "api_calls": counts}


class Aws:
    """One client. Methods are named as boto3 names them."""

    def __init__(self, client, profile: Profile, log: CallLog, clock: Clock):
        self.client = client
        self.log = log
        self.retry = Retry(profile, clock)
        log.retries.append(self.retry)

    def afresh(self) -> Aws:
        """The same client with the whole budget of its profile again, for runs that go on for minutes."""
        return Aws(self.client, self.retry.profile, self.log, self.retry.clock)

    @property
    def region(self) -> str:
        """The region that the client talks to."""
        return self.client.meta.region_name

    def read(self, method: str, resource: str, **params) -> dict:
        """Call something that changes nothing.

        :raises errors.AwsFailure: when it fails.
        """
        self.log.reads += 1
        function = getattr(self.client, method)
        return self._call(self.retry, method, resource, lambda: function(**params))

    def write(self, method: str, resource: str, before=None, **params) -> dict:
        """Call something that changes AWS, and log it when it was carried out or may have been.

        :param before: called right before each attempt; what it raises ends the attempts.
        :raises errors.AwsFailure: when it fails; it is ``refused`` only if no attempt may have been carried out.
        """
        return self._write(self.retry, method, resource, before, params)

    def write_once(self, method: str, resource: str, **params) -> dict:
        """As :meth:`write`, for callers that themselves decide what to try again and when."""
        return self._write(lambda attempt: attempt(), method, resource, None, params)

    def _write(self, retry, method: str, resource: str, before, params: dict) -> dict:
        function = getattr(self.client, method)
        carried_out = False  # or perhaps

        def attempt():
            nonlocal carried_out
            if before:
                before()
            try:
                answer = function(**params)
            except Exception as exception:
                carried_out = carried_out or not (errors.is_aws(exception) and errors.is_refused(exception))
                raise
            carried_out = True
            return answer

        try:
            return self._call(retry, method, resource, attempt)
        except errors.AwsFailure as failure:
            failure.refused = not carried_out
            raise
        finally:
            if carried_out:
                call = {"action": self.client.meta.method_to_api_mapping[method], "resource": resource}
                self.log.calls.append(call)

    def _call(self, retry, method: str, resource: str, attempt) -> dict:
        try:
            return retry(attempt)
        except Exception as exception:
            if not errors.is_aws(exception):
                raise
            raise errors.from_aws(exception, self.iam_action(method), resource, self.region) from exception

    def iam_action(self, method: str) -> str:
        """The IAM action that a method needs, for example ``elasticloadbalancing:ModifyRule``."""
        signing_name = self.client.meta.service_model.signing_name
        action = f"{_IAM_PREFIX.get(signing_name, signing_name)}:{self.client.meta.method_to_api_mapping[method]}"
        return _IAM_ACTION.get(action, action)


class Connector:
    """Makes clients when they are needed, so that a run makes only those.

    What the operator set in ``aws_config`` is kept, but retries are counted here and timeouts do not exceed the
    profile's.

    :ivar log: what its clients did, but for those that were given a log of their own.
    """

    def __init__(self, module, clock: Clock):
        self._module = module
        self.clock = clock
        self.log = CallLog()

    def __call__(self, service: str, profile: Profile, log=None, region: str = "") -> Aws:
        """A client, of the module's region unless another one is named."""
        config = dict(self._module.params.get("aws_config") or {})
        for timeout in ("connect_timeout", "read_timeout"):
            limit = getattr(profile, timeout)
            config[timeout] = min(float(config.get(timeout) or limit), limit)
        config["retries"] = {"total_max_attempts": 1, "mode": "standard"}
        elsewhere = {"region": region} if region else {}
        return Aws(self._module.client(service, aws_config=config, **elsewhere), profile, log or self.log, self.clock)


def execute(module, run) -> None:
    """Call ``run(connect, params, check_mode)`` and end the module with its result, or with what its failure says.

    ``calls`` and ``api_calls`` are in both. What they hold under ``warnings`` is shown as such.
    """
    connect = Connector(module, Clock())
    try:
        result, end = run(connect, module.params, module.check_mode), module.exit_json
    except errors.Failure as failure:
        result, end = {"msg": str(failure), **failure.details}, module.fail_json
    for warning in result.pop("warnings", []):
        warn(warning)
    end(**{**connect.log.result(), **result})
