"""The inspector's server: on 127.0.0.1, a thread a request, until it is interrupted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from interp.errors import UsageError

if TYPE_CHECKING:
    from headscope.inspector.bench import Bench

ADDRESS = "127.0.0.1"
PORT = 8050
IDLE_SECONDS = 20.0  # the page asks anew whenever it needs something


def make_server(bench: Bench, port: int = PORT) -> Any:
    """A server that has its port; port 0 takes any that is free. Raises UsageError where the port is taken."""
    check_port(port)
    try:
        from werkzeug.serving import WSGIRequestHandler
        from werkzeug.serving import make_server as werkzeug_server

        from headscope.inspector.app import make_app
    except ImportError as error:
        raise UsageError(f"the inspector needs dash ({error}): pip install 'headscope[inspector]'") from error
    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    class Handler(WSGIRequestHandler):
        timeout = IDLE_SECONDS  # a connection that says nothing is closed, and its thread and descriptor are free again

        def log_error(self, format: str, *args: Any) -> None:
            if not format.startswith("Request timed out"):  # browsers keep connections open: no news for the terminal
                super().log_error(format, *args)

    return werkzeug_server(ADDRESS, port, make_app(bench).server, threaded=True, request_handler=Handler)


def check_port(port: int) -> None:
    """Raises UsageError for a port that is out of range or taken."""
    import socket

    if not 0 <= port <= 65535:
        raise UsageError(f"--port {port} is not a port: choose one from 1024 to 65535, or 0 for any that is free")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise UsageError(
                f"port {port} can't be used ({error.strerror}): perhaps another inspector runs there. Choose another "
                "with --port, or --port 0 for any that is free"
            ) from error


def serve(bench: Bench, *, port: int = PORT, ready: Callable[[str], None]) -> None:
    """Serve until interrupted; `ready` gets the address once it answers."""
    server = make_server(bench, port)
    ready(f"http://{ADDRESS}:{server.server_port}/")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return
    finally:
        server.server_close()
