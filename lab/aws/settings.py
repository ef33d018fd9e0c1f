"""What of the lab's AWS can be set while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

NODES = ("a", "b")


@dataclass(frozen=True)
class Settings:
    """Run-time settings; all times in seconds.

    lag_a and lag_b: how long after an API answer each load balancer node follows it.
    health_check_scale: factor on the target groups' health check intervals (the API accepts no less than 5 s).
    metrics_period: length of a CloudWatch data point of AWS/ApplicationELB (AWS: 60).
    metrics_delay: how long after its end a data point can be read.
    s3_date_skew: how far the Date header of S3's answers is ahead of this machine's clock.
    rds_seconds: how long each step of RDS takes at least: creating, backing up, a snapshot, a copy, a reboot …
    rds_archive_seconds: how often an instance's log is archived, so that LatestRestorableTime moves on (AWS: 300).
    """

    lag_a: float = 0.0
    lag_b: float = 0.0
    health_check_scale: float = 1.0
    metrics_period: float = 60.0
    metrics_delay: float = 0.0
    s3_date_skew: float = 0.0
    rds_seconds: float = 1.0
    rds_archive_seconds: float = 5.0

    def changed(self, values: Mapping[str, object]) -> Settings:
        """Return these settings with some values replaced; raises ValueError naming what is wrong."""
        known = asdict(self)
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"unknown setting {name!r}; known: {', '.join(known)}")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name} must be a number, not {value!r}")
            if value < 0 and name != "s3_date_skew":
                raise ValueError(f"{name} must not be negative, not {value}")
            if value <= 0 and name in ("health_check_scale", "metrics_period", "rds_archive_seconds"):
                raise ValueError(f"{name} must be above 0, not {value}")
            known[name] = float(value)
        return replace(self, **known)

    def lag(self, node: str) -> float:
        """Return the lag of node "a" or "b"."""
        return getattr(self, f"lag_{node}")
