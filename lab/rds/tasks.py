"""What takes time on RDS: a task is over when its time has passed and its work on the engine is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

AT_ONCE = 4


@dataclass(eq=False)
class Task:
    """One thing that happens to a subject.

    done: called with what the work returned, and with its exception or None.
    starts: called when it begins.
    after: the task that must be over before this one begins.
    """

    subject: Any
    done: Callable[[Any, BaseException | None], None]
    work: Callable[[], Any] | None = None
    starts: Callable[[], None] = lambda: None
    after: Task | None = None
    begun: float | None = None
    over: bool = False
    future: Future[Any] | None = None


class Tasks:
    """All tasks; whoever calls holds the lab's lock. Work runs without it, in threads."""

    def __init__(self, seconds: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._tasks: list[Task] = []
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="rds")

    def start(self, subject: Any, done: Callable[..., None], **options: Any) -> Task:
        """Add a task; it begins with the next turn."""
        task = Task(subject, done, **options)
        self._tasks.append(task)
        return task

    def turn(self) -> None:
        """Begin what may begin, and finish what is over; again as long as that leads to more."""
        while sum(self._advance(task) for task in list(self._tasks)):
            pass

    def progress(self, subject: Any) -> int | None:
        """Return how far a subject's task is, 0 to 99 %; 0 while it waits; None without a task."""
        for task in self._tasks:
            if task.subject is subject:
                if task.begun is None:
                    return 0
                return min(99, int(100 * (self._clock() - task.begun) / max(self._seconds(), 0.001)))
        return None

    def _advance(self, task: Task) -> bool:
        """Return whether the task made a step."""
        now = self._clock()
        if task.begun is None:
            if task.after and not task.after.over:
                return False
            task.begun = now
            task.starts()
            task.future = self._pool.submit(task.work) if task.work else None
            return True
        if now - task.begun < self._seconds() or (task.future and not task.future.done()):
            return False
        self._tasks.remove(task)
        task.over = True
        error = task.future.exception() if task.future else None
        task.done(task.future.result() if task.future and not error else None, error)
        return True
