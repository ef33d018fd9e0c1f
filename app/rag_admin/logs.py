"""JSON lines, one file for the application, gunicorn and Alembic alike."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from pathlib import Path

import structlog

FILE = "rag-admin.log"

# No dict_tracebacks: it writes local variables, and a local variable can be a password.
_COMMON = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.format_exc_info,
]


def configure(directory: str, level: int = logging.INFO) -> None:
    """Send every log line to ``rag-admin.log`` in ``directory``, or to standard output when it is ``-``.

    The file is opened anew when it was moved, so logrotate needs neither copytruncate nor a signal; each line is one
    write in append mode, so that several workers can share the file.

    :raises OSError: when the file cannot be opened.
    """
    if directory == "-":
        handler: logging.Handler = logging.StreamHandler(sys.stdout)
    else:
        handler = logging.handlers.WatchedFileHandler(Path(directory) / FILE, encoding="utf-8")
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=True),
            ],
            foreign_pre_chain=[*_COMMON, structlog.stdlib.ExtraAdder(allow=("pid",))],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("botocore", "boto3", "urllib3", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_COMMON,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
