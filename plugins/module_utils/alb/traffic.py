# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What alb_traffic does: move traffic, or put it back."""

from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb import api, plan, transformations, waiters
from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb.guard import Guard
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws, Connector
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import (
    AwsFailure,
    Failure,
    require_region,
)
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.poll import poll
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.retries import NORMAL, ROLLBACK
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout.fence import FenceLost

# Long enough for AWS to show what it just accepted.
READ_BACK = 10.0
READ_BACK_ROLLBACK = 2.0


def run(connect: Connector, params: dict, check_mode: bool) -> dict:
    """The module's result.

    :raises Failure: when nothing may or could be done, or only a part.
    """
    if params["restore"] is not None:
        return restore(connect, params, check_mode)
    return move(connect, params, check_mode)


def move(connect: Connector, params: dict, check_mode: bool) -> dict:
    """Bring all listeners and rules to the declared weights, as one."""
    weights = plan.parse_weights(params["weights"], "weights")
    expected = params["expected_weights"]
    if expected is not None:
        expected = plan.parse_weights(expected, "expected_weights")
    stickiness = plan.parse_stickiness(params["stickiness"])
    arns = list(dict.fromkeys(params["arns"]))
    aws = connect("elbv2", NORMAL)
    require_region([*arns, *weights], aws.region)

    actions = waiters.read_forwards(aws, arns)
    planned = plan.plan_traffic([{"arn": arn, "actions": actions[arn]} for arn in arns], weights, stickiness, expected)
    todo = [item for item in planned if item["actions"] is not None]
    if check_mode:
        for item in todo:
            connect.log.plan(plan.action_name(item["arn"]), item["arn"])
    elif todo:
        _apply(connect, aws, todo, Guard(connect, params["fence"]))
    return {"changed": bool(todo), "diff": plan.diff_of(planned), "forwards": _forwards(planned)}


def _forwards(planned: list) -> list:
    return [{"arn": item["arn"], **item["after"]} for item in planned]


def _write(aws: Aws, arn: str, actions: list, guard=None) -> None:
    modify = api.modify_rule if transformations.kind_of(arn) == "rule" else api.modify_listener
    modify(aws, arn, actions, guard)


def _apply(connect: Connector, aws: Aws, todo: list, guard: Guard) -> None:
    moved: list = []
    for item in todo:
        logged = len(aws.log.calls)
        try:
            _write(aws, item["arn"], item["actions"], guard)
        except Failure as failure:
            # After an answer that never came, the call may have been carried out: put that one back too.
            doubtful = [item] if len(aws.log.calls) > logged else []
            _compensate(connect, failure, moved + doubtful, guard)
            raise
        moved.append(item)
    different = waiters.wait_for_weights(aws, {item["arn"]: item["after"] for item in todo}, READ_BACK, connect.clock)
    if different:
        raise _unlike(different, {item["arn"]: item["before"] for item in todo})


def _unlike(different: dict, before: dict) -> Failure:
    """What it means that something else was read back. The weights from before are an old answer, nobody's writing."""
    foreign = {arn: found for arn, found in different.items() if found != before[arn]}
    failure = Failure(
        f"the weights just written on {', '.join(different)}",
        f"{different} when read back {READ_BACK:g} s later",
        "Somebody else writes the same action: stop them, then run again."
        if foreign
        else "That is as before: AWS accepted the new weights but does not show them yet. Run again.",
    )
    if foreign:
        failure.details["foreign_writer"] = foreign
    return failure


def _compensate(connect: Connector, failure: Failure, moved: list, guard: Guard) -> None:
    """Put back what was moved before the failure, and say so in it."""
    put_back, not_put_back = [], []
    aws = connect("elbv2", ROLLBACK) if moved else None
    for item in reversed(moved):
        try:
            if isinstance(failure, FenceLost):
                raise failure
            _write(aws, item["arn"], transformations.writable(item["previous"]), guard)
            put_back.append(item["arn"])
        except Failure:
            not_put_back.append(item["arn"])
    if put_back:
        failure.add(f"Put back as before: {', '.join(put_back)}.")
    if not_put_back:
        failure.add(f"Still moved, and not put back: {', '.join(not_put_back)}.")
    failure.details.update(put_back=put_back, not_put_back=not_put_back)


def restore(connect: Connector, params: dict, check_mode: bool) -> dict:
    """Put recorded actions back: one mutating call for each ARN and nothing before it but the fence.

    All are tried, round by round, even when one fails.
    """
    planned = plan.plan_restore(params["restore"])
    aws = connect("elbv2", ROLLBACK)
    require_region([item["arn"] for item in planned], aws.region)
    result = {"changed": True, "diff": plan.diff_of(planned), "forwards": _forwards(planned), "verified": False}
    if check_mode:
        for item in planned:
            connect.log.plan(plan.action_name(item["arn"]), item["arn"])
        return result
    guard = Guard(connect, params["fence"], rolling_back=True)
    failed, unanswered = _write_all(aws, planned, guard, connect.clock)
    restored = [item for item in planned if item["arn"] not in failed]
    result["verified"] = _verify(aws, restored, guard.warnings, connect.clock) and not failed
    result["warnings"] = guard.warnings
    if failed:
        raise Failure(
            f"the recorded actions on {', '.join(failed)}",
            "; ".join(str(failure) for failure in failed.values()),
            f"{_whereabouts(failed, unanswered)} Mend the cause and roll back again at once.",
            restored=[item["arn"] for item in restored],
            remaining=list(failed),
            unanswered=unanswered,
            warnings=guard.warnings,
        )
    return result


def _whereabouts(failed: dict, unanswered: list) -> str:
    """Where traffic is that could not be put back, as far as is known."""
    undone = [arn for arn in failed if arn not in unanswered]
    sentences = []
    if undone:
        sentences.append(f"Nothing was done, so traffic is as it was before this run on {', '.join(undone)}.")
    if unanswered:
        sentences.append(f"No answer came, so it may have been put back or not on {', '.join(unanswered)}.")
    return " ".join(sentences)


def _write_all(aws: Aws, planned: list, guard: Guard, clock) -> tuple:
    """Write each item once, and again what AWS throttled, within the profile's time.

    :returns: the last failure by ARN, and those ARNs of them with an attempt that may have been carried out.
    """
    pending, failed, unanswered = list(planned), {}, {}

    def one_round(_elapsed):
        for item in list(pending):
            try:
                guard()
                _write(aws, item["arn"], item["actions"])
            except AwsFailure as failure:
                failed[item["arn"]] = failure
                unanswered[item["arn"]] = unanswered.get(item["arn"], False) or not failure.refused
                aws.retry.retries += failure.transient
                if not failure.transient:
                    pending.remove(item)
            else:
                failed.pop(item["arn"], None)
                pending.remove(item)
        return None if pending else True

    began = clock.monotonic()
    poll(one_round, lambda rounds: clock.jitter(ROLLBACK.pause(rounds)), ROLLBACK.total, clock)
    aws.retry.spent += clock.monotonic() - began
    return failed, [arn for arn in failed if unanswered[arn]]


def _verify(aws: Aws, restored: list, warnings: list, clock) -> bool:
    """Read back what was put back.

    AWS accepted it, so neither that it cannot be read nor an old answer is a reason to call the rollback failed.
    """
    if not restored:
        return False
    wanted = {item["arn"]: item["after"] for item in restored}
    try:
        different = waiters.wait_for_weights(aws, wanted, READ_BACK_ROLLBACK, clock)
    except Failure as failure:
        warnings.append(f"AWS accepted the rollback, but it could not be read back. {failure}")
        return False
    if different:
        warnings.append(
            f"AWS accepted the rollback, but {READ_BACK_ROLLBACK:g} s later it showed {different}."
            " Read it again: if it stays so, somebody else writes the same action. Stop them, then roll back again."
        )
    return not different
