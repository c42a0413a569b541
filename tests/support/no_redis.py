"""What answers where Redis should be, and is none, or not ready to serve."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

NO_REDIS = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b":1\r\n",
    b"$-1\r\n",
    b"*1\r\n$3\r\nabc\r\n",
    b"\xff\xfe\x00\r\n",
    b":abc\r\n",
    b"-LOADING Redis is loading the dataset in memory\r\n",
    b"-READONLY You can't write against a read only replica.\r\n",
    b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    b"-WRONGPASS invalid username-password pair or user is disabled. hush-hush\r\n",
    b"-NOAUTH Authentication required.\r\n",
    b"-ERR unknown command\r\n",
]


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Run a server that says this to whatever it is asked, and yield its redis:// URL."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while connection.recv(65536):
                connection.sendall(answer)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        yield f"redis://:hush-hush@127.0.0.1:{listener.getsockname()[1]}/0"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
