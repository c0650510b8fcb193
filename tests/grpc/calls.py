"""A gRPC service and a gRPC client on grpcio, without generated code: messages are bytes.

`calls.py serve [CERT KEY]` prints its port. `calls.py call ADDRESS [CA]` makes every call through the gateway at ADDRESS and
fails with a traceback where one is not as it must be.
"""

import sys
import threading
import time
from concurrent import futures

import grpc

MANY = 10_000
BINARY = bytes(range(256))
cancelled = threading.Semaphore(0)


class Calls:
    def unary(self, request, context):
        told = {key: value for key, value in context.invocation_metadata()}
        context.send_initial_metadata((("x-begun", told.get("x-said", "")),))
        context.set_trailing_metadata((("x-twice", "1"), ("x-twice", "2"), ("x-end-bin", told.get("x-said-bin", b""))))
        return request

    def server_stream(self, request, _):
        for number in range(int(request)):
            yield b"%d" % number

    def repeat(self, request, _):
        for _ in range(1000):
            yield request

    def client_stream(self, requests, _):
        return b"%d" % sum(int(request) for request in requests)

    def both(self, requests, _):
        yield from requests

    def abort(self, request, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.decode())

    def fail(self, request, context):
        context.set_trailing_metadata((("grpc-status-details-bin", BINARY),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.decode())

    def fail_late(self, _, context):
        yield b""
        context.abort(grpc.StatusCode.DATA_LOSS, "late")

    def hang(self, _, context):
        over = threading.Event()

        def ended():
            cancelled.release()
            over.set()

        context.add_callback(ended)
        over.wait(20)
        return b""

    def was_cancelled(self, _, context):
        if not cancelled.acquire(timeout=10):
            context.abort(grpc.StatusCode.NOT_FOUND, "no call was cancelled")
        return b"yes"


def serve(arguments):
    calls = Calls()
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(calls.unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(calls.server_stream),
        "Repeat": grpc.unary_stream_rpc_method_handler(calls.repeat),
        "ClientStream": grpc.stream_unary_rpc_method_handler(calls.client_stream),
        "Both": grpc.stream_stream_rpc_method_handler(calls.both),
        "Abort": grpc.unary_unary_rpc_method_handler(calls.abort),
        "Fail": grpc.unary_unary_rpc_method_handler(calls.fail),
        "FailLate": grpc.unary_stream_rpc_method_handler(calls.fail_late),
        "Hang": grpc.unary_unary_rpc_method_handler(calls.hang),
        "WasCancelled": grpc.unary_unary_rpc_method_handler(calls.was_cancelled),
    }
    options = [("grpc.max_receive_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(16), options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Calls", handlers),))
    if arguments:
        cert, key = (open(path, "rb").read() for path in arguments)
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, cert)]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


def refused(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call went well")


def equal(found, expected):
    assert found == expected, f"{found!r:.500} and not {expected!r:.500}"


def check_unary(channel):
    unary = channel.unary_unary("/test.Calls/Unary")
    metadata = (("x-said", "hello"), ("x-said-bin", BINARY))
    answer, call = unary.with_call(b"abc", metadata=metadata, timeout=30)
    equal(answer, b"abc")
    equal(dict(call.initial_metadata())["x-begun"], "hello")
    trailing = [pair for pair in call.trailing_metadata() if pair[0].startswith("x-")]
    equal([value for key, value in trailing if key == "x-twice"], ["1", "2"])
    equal(dict(trailing)["x-end-bin"], BINARY)
    equal(unary(b"", timeout=30), b"")
    large = bytes(5_000_000)
    equal(unary(large, timeout=60), large)


def check_streams(channel):
    numbers = [b"%d" % number for number in range(MANY)]
    down = channel.unary_stream("/test.Calls/ServerStream")
    equal(list(down(b"%d" % MANY, timeout=60)), numbers)
    equal(list(down(b"0", timeout=30)), [])
    up = channel.stream_unary("/test.Calls/ClientStream")
    equal(up(iter(numbers), timeout=60), b"%d" % (MANY * (MANY - 1) // 2))
    equal(up(iter(()), timeout=30), b"0")
    both = channel.stream_stream("/test.Calls/Both")
    equal(list(both(iter(numbers), timeout=60)), numbers)


def check_conversation(channel):
    """Each message waits for the answer to the one before: nothing may be held back, in either direction."""
    turn = threading.Semaphore(1)

    def ask():
        for number in range(100):
            assert turn.acquire(timeout=20), "no answer"
            yield b"%d" % number

    answers = []
    for answer in channel.stream_stream("/test.Calls/Both")(ask(), timeout=60):
        answers.append(answer)
        turn.release()
    equal(answers, [b"%d" % number for number in range(100)])


def check_failures(channel):
    text = "grün, 100%\n"
    error = refused(lambda: channel.unary_unary("/test.Calls/Fail")(text.encode(), timeout=30))
    equal((error.code(), error.details()), (grpc.StatusCode.FAILED_PRECONDITION, text))
    equal(dict(error.trailing_metadata())["grpc-status-details-bin"], BINARY)
    late = channel.unary_stream("/test.Calls/FailLate")(b"", timeout=30)
    equal(next(late), b"")
    error = refused(lambda: next(late))
    equal((error.code(), error.details()), (grpc.StatusCode.DATA_LOSS, "late"))
    error = refused(lambda: channel.unary_unary("/test.Calls/Nothing")(b"", timeout=30))
    equal(error.code(), grpc.StatusCode.UNIMPLEMENTED)


def check_ends(channel):
    hang = channel.unary_unary("/test.Calls/Hang")
    was_cancelled = channel.unary_unary("/test.Calls/WasCancelled")
    error = refused(lambda: hang(b"", timeout=1))
    equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
    equal(was_cancelled(b"", timeout=30), b"yes")
    call = hang.future(b"", timeout=30)
    time.sleep(0.5)
    call.cancel()
    equal(was_cancelled(b"", timeout=30), b"yes")


def check_refusals(channel):
    def reason(method, code, expected, timeout=30):
        error = refused(lambda: channel.unary_unary(method)(b"x", timeout=timeout))
        equal(error.code(), code)
        equal(dict(error.trailing_metadata())["x-narthex-reason"], expected)
        assert error.details().endswith("."), error.details()

    reason("/nowhere.Calls/Unary", grpc.StatusCode.UNIMPLEMENTED, "no_route")
    reason("/down.Calls/Unary", grpc.StatusCode.UNAVAILABLE, "connect_failed")
    reason("/small.Calls/Unary", grpc.StatusCode.RESOURCE_EXHAUSTED, "body_too_large")
    # The gateway's deadline: the service learns of it as of a client that left. Without a time of the client's own, or the
    # service is told what is left, and its own refusal races with the gateway's.
    reason("/late.Calls/Hang", grpc.StatusCode.DEADLINE_EXCEEDED, "deadline_exceeded", timeout=None)
    equal(channel.unary_unary("/test.Calls/WasCancelled")(b"", timeout=30), b"yes")


def call(arguments):
    address, authorities = arguments[0], arguments[1:]
    options = [("grpc.max_receive_message_length", -1), ("grpc.ssl_target_name_override", "a.test")]
    if authorities:
        credentials = grpc.ssl_channel_credentials(open(authorities[0], "rb").read())
        channel = grpc.secure_channel(address, credentials, options)
    else:
        channel = grpc.insecure_channel(address, options[:1])
    with channel:
        for check in (
            check_unary, check_streams, check_conversation, check_failures, check_ends, check_refusals
        ):
            check(channel)
            print(check.__name__, "well", flush=True)


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](sys.argv[2:])
