"""The list of behaviours, in the order in which each call passes them, from the innermost to the outermost."""

from __future__ import annotations

from lab.aws.core import Lab
from lab.aws.overlay import (
    faults,
    forward_actions,
    journal,
    metrics,
    pages,
    propagation,
    rds_instances,
    rds_parameters,
    rds_snapshots,
    rules,
    s3_date,
    s3_writes,
    target_health,
)

BEHAVIOURS = (
    forward_actions,
    rules,
    pages,
    target_health,
    s3_writes,
    rds_instances,
    rds_snapshots,
    rds_parameters,
    metrics,
    propagation,
    faults,
    s3_date,
    journal,
)


def install(lab: Lab) -> None:
    """Install every behaviour."""
    for behaviour in BEHAVIOURS:
        behaviour.install(lab)
