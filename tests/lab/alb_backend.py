"""A small real web server, the target of the load balancer's tests: `python alb_backend.py ADDRESS PORT COLOR`."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys

COLOR = ""


class Connection(asyncio.Protocol):
    """Answers one request after the other on a connection that the client keeps open."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _end, self.received = self.received.partition(b"\r\n\r\n")
            request, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _colon, value in (line.partition(":") for line in lines)}
            self.received = self.received[int(headers.get("content-length", 0)) :]
            self.answer(request.split()[1], headers)

    def answer(self, path: str, headers: dict[str, str]) -> None:
        match path.partition("?")[0].split("/")[1:]:
            case ["sleep", seconds]:
                asyncio.get_running_loop().call_later(float(seconds), self.send, 200, "slept\n")
            case ["status", status]:
                self.send(int(status), f"{status}\n")
            case ["headers"]:
                self.send(200, json.dumps(headers))
            case ["reset"]:
                linger = struct.pack("ii", 1, 0)
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.transport.abort()
            case ["hang"]:
                pass
            case _:
                self.send(200, f"{COLOR}\n")

    def send(self, status: int, body: str) -> None:
        head = f"HTTP/1.1 {status} Said\r\nX-App-Color: {COLOR}\r\nX-App-Version: 1.0\r\n"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())


async def serve(address: str, port: int) -> None:
    """Serve until the end of the process."""
    server = await asyncio.get_running_loop().create_server(Connection, address, port, backlog=1000)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    COLOR = sys.argv[3]
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
