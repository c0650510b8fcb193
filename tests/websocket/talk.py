"""A WebSocket service and a WebSocket client on the package `websockets`, with OpenSSL for `wss`.

`talk.py serve [CERT KEY]` prints its port and sends every message back. `talk.py talk ADDRESS CA` talks to it through the
gateway at ADDRESS, in one TLS version after the other, and fails with a traceback where something is not as it must be.
"""

import socket
import ssl
import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve

SIZES = [0, 1, 125, 126, 65_535, 65_536, 1_000_000, 16 << 20]


def echo(connection):
    assert any("deflate" in type(one).__name__.lower() for one in connection.protocol.extensions), "not end to end"
    try:
        for message in connection:
            connection.send(message)
    except ConnectionClosed:
        pass


def run_service(files):
    context = None
    if files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
    with serve(echo, "127.0.0.1", 0, ssl=context, max_size=None, subprotocols=["chat"]) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()


def talk(address, authority, version):
    host, port = address.rsplit(":", 1)
    context = ssl.create_default_context(cafile=authority)
    context.minimum_version = context.maximum_version = version
    with connect(
        f"wss://a.test:{port}/chat",
        sock=socket.create_connection((host, int(port)), timeout=20),
        ssl=context,
        server_hostname="a.test",
        subprotocols=["chat"],
        max_size=None,
    ) as connection:
        assert connection.subprotocol == "chat"
        assert connection.protocol.extensions, "permessage-deflate was not agreed upon"
        for size in SIZES:
            for payload in (bytes(at % 251 for at in range(251)) * (size // 251 + 1), "ü€" * (size // 2 + 1)):
                payload = payload[:size]
                connection.send(payload)
                assert connection.recv(timeout=20) == payload, size
        connection.send(["in ", "four ", "frag", "ments"])
        assert connection.recv(timeout=20) == "in four fragments"
        connection.ping().wait(20)
        many(connection)
        connection.close(4242, "enough")
    assert (connection.protocol.close_rcvd.code, connection.protocol.close_rcvd.reason) == (4242, "enough")
    print(version.name, flush=True)


def many(connection):
    """Both directions at once."""
    sender = threading.Thread(target=lambda: [connection.send(b"%d" % at) for at in range(5_000)])
    sender.start()
    for at in range(5_000):
        assert connection.recv(timeout=20) == b"%d" % at
    sender.join()


if sys.argv[1] == "serve":
    run_service(sys.argv[2:])
else:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        talk(sys.argv[2], sys.argv[3], version)
