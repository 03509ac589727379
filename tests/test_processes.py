import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from conformance.processes import DidNotStart, background, foreground, handled, undisturbed


def python(program: str) -> list[str]:
    return [sys.executable, "-u", "-c", program]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_background_says_what_it_says_and_ends_with_the_block() -> None:
    program = "import os, time; print('pid', os.getpid()); print('pid 2'); time.sleep(60)"
    with background(python(program)) as wait:
        pid, two = wait(rb"pid (\d+)\s", 2)
        assert two == b"2"
        assert is_running(int(pid))
    assert not is_running(int(pid))


def test_background_that_ends_too_early() -> None:
    with (
        background(python("print('first'); print('the reason')")) as wait,
        pytest.raises(DidNotStart) as raised,
    ):
        wait(rb"ready (\d)", 1)
    assert str(raised.value) == "the reason"


def test_a_session_of_its_own() -> None:
    program = "import os; print('session', os.getsid(0))"
    with background(python(program)) as wait:
        assert int(wait(rb"session (\d+)\s", 1)[0]) == os.getsid(0)
    with background(python(program), own_session=True) as wait:
        assert int(wait(rb"session (\d+)\s", 1)[0]) != os.getsid(0)


@pytest.mark.parametrize(
    ("program", "code"), [("", 0), ("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_foreground_gives_the_exit_code_of_a_shell(program: str, code: int) -> None:
    assert foreground(python(program), os.environ) == code


def test_foreground_that_is_not_there(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        foreground([str(tmp_path / "nothing")], os.environ)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 0)])
def test_signals_while_something_runs_in_the_foreground(number: int, code: int, tmp_path) -> None:
    # SIGINT is for the command, which gets it from the terminal; the one that only the parent got does nothing.
    program = (
        "import os, sys, pathlib\n"
        "from conformance.processes import foreground\n"
        f"child = {python(f'import pathlib, time; pathlib.Path({str(tmp_path / "up")!r}).touch(); time.sleep(3)')!r}\n"
        "sys.exit(foreground(child, os.environ))"
    )
    with subprocess.Popen(python(program), start_new_session=True) as process:
        try:
            while not (tmp_path / "up").exists():
                time.sleep(0.01)
            process.send_signal(number)
            assert process.wait(20) == code
        finally:
            process.kill()


def test_signals_are_put_off() -> None:
    done = []

    def work() -> None:
        with undisturbed():
            os.kill(os.getpid(), signal.SIGINT)
            done.append(1)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == [1]


def test_another_thread_handles_no_signals() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def inside() -> None:
        with handled(lambda *_: None, signal.SIGTERM):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [before]


TIED = """
import socket, time
from conformance.processes import end_with_stdin
end_with_stdin()
listener = socket.create_server(("127.0.0.1", 0))
print("port", listener.getsockname()[1], flush=True)
time.sleep(60)
"""
OUTER = f"""
import sys, time
from conformance.processes import background
with background([sys.executable, "-c", {TIED!r}]) as wait:
    print("port", wait(rb"port (\\d+)\\s", 1)[0].decode(), flush=True)
    time.sleep(60)
"""


def test_a_process_ends_with_its_standard_input() -> None:
    with subprocess.Popen(python(TIED), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline().startswith(b"port ")
        child.stdin.close()
        assert child.wait(60) == -signal.SIGTERM


def test_a_process_ends_with_who_has_started_it_and_is_killed() -> None:
    with subprocess.Popen(python(OUTER), stdout=subprocess.PIPE) as process:
        port = int(process.stdout.readline().split()[1])
        process.kill()
        process.wait(60)
    until = time.monotonic() + 60
    while True:  # nobody may have taken note of its end: so not by its id
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            break
        assert time.monotonic() < until, "it is left"
        time.sleep(0.02)
