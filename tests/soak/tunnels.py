"""A hundred thousand WebSocket messages and 16 MiB frames, in the clear and over TLS."""

from __future__ import annotations

import argparse
import ssl
import time

from tests import certificates
from tests.functional.scene import start_daemon
from tests.functional.websocket_talk import exchange_large, exchange_messages, open_client, start_server
from tests.soak.stage import Stage

FRAME = 16 * 1024 * 1024


def run(stage: Stage, options: argparse.Namespace) -> list[str]:
    """Both ways; an echo that differs raises."""
    address = start_server(stage.start)
    authority = certificates.Authority(stage.folder)
    leaf = authority.issue("localhost")
    tls = f"{{certificates: [{{certificate: {leaf.certificate}, key: {leaf.key}}}]}}"
    for scheme, front in (("ws", ""), ("wss", f", tls: {tls}")):
        text = (
            f'daemon:\n  listeners: [{{address: "127.0.0.1:0"{front}}}]\n  access_log: {{format: "off"}}\n'
            f"pools: {{web: {{backends: ['{address}']}}}}\nroutes: [{{pool: web}}]\n"
        )
        daemon = start_daemon(stage.start, stage.folder, text)
        context = ssl.create_default_context(cafile=str(authority.certificate)) if scheme == "wss" else None
        begin = time.monotonic()
        with open_client(f"{scheme}://localhost:{daemon.port}/echo", context) as client:
            exchange_messages(client, options.messages)
            exchange_large(client, FRAME)
        print(f"{scheme}: {options.messages} messages and two of {FRAME} bytes in {time.monotonic() - begin:.1f} s")
    return []
