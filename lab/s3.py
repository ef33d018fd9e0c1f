"""S3 by HTTPS: HAProxy with the lab's certificate before the AWS server, for clients that insist on TLS.

Hosts reach it under S3's real name (settings.S3_HOST); only the authority, .lab/tls/ca.pem, is another one.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from lab import certificates, processes, settings

PORT = 443
CONFIGURATION = """\
defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 75s
frontend s3
    bind {address}:{port} ssl crt {certificate}
    default_backend aws
backend aws
    # As S3 does: one request that gets no answer is the client's to repeat.
    retries 0
    server aws {address}:{aws_port}
"""


def ensure(directory: Path = settings.RUNTIME / "s3", port: int = PORT, aws_port: int = settings.AWS_PORT) -> None:
    """Start it unless it runs; return when it listens. Raises RuntimeError when it does not."""
    address = str(settings.GATEWAY)
    if processes.running("s3") and processes.listener(address, port):
        return
    certificates.ensure()
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    certificate = directory / "server.pem"
    certificate.touch(mode=0o600)
    certificate.write_bytes(certificates.SERVER_CERTIFICATE.read_bytes() + certificates.SERVER_KEY.read_bytes())
    configuration = directory / "haproxy.cfg"
    configuration.write_text(
        CONFIGURATION.format(address=address, port=port, certificate=certificate, aws_port=aws_port)
    )
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin") or "haproxy"
    pid = processes.start("s3", [program, "-db", "-f", str(configuration)], {})
    deadline = time.monotonic() + 10
    while not processes.listener(address, port):
        if processes.start_time(pid) is None or time.monotonic() > deadline:
            raise RuntimeError(f"no S3 on {address}:{port}; see {settings.LOGS}/s3.log")
        time.sleep(0.05)
