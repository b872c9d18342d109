"""The program on a pseudo-terminal of some width, in a process of its own; see `tests.program`."""

import fcntl
import os
import pty
import re
import runpy
import struct
import sys
import termios
import threading
from pathlib import Path

from tests.program import SERVER

ANSI = re.compile(r"\x1b\[([0-9;]*)m")


def run_on_terminal(folder: Path, columns: int, *arguments: str, **environment: str) -> str:
    """Run ``gpu-ssl`` with `arguments` in `folder`, and return what the terminal was sent."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    own = {**inherited, "TERM": "xterm-256color", **environment}
    process = SERVER.Process(target=_on_terminal, args=(folder, arguments, own, os.ttyname(slave)))
    process.start()
    sent: list[bytes] = []
    reader = threading.Thread(target=_read, args=(master, sent), daemon=True)
    reader.start()
    process.join(300)
    assert process.exitcode is not None
    os.close(slave)  # The reader sees the end once nobody holds it open.
    reader.join(30)
    os.close(master)
    return b"".join(sent).decode().replace("\r\n", "\n")


def colours(text: str) -> set[str]:
    """Return the codes of colours that a text has for a terminal: not those of bold or dim letters."""
    codes = {code for found in ANSI.findall(text) for code in found.split(";")}
    return {code for code in codes if re.fullmatch(r"3[0-8]|4[0-8]|9\d|10\d", code)}


def lines_of(text: str) -> list[str]:
    """Return the lines that a terminal shows."""
    return ANSI.sub("", text).splitlines()


def _read(master: int, sent: list[bytes]) -> None:
    try:
        while content := os.read(master, 65536):
            sent.append(content)
    except OSError:  # of Linux, at the end
        pass


def _on_terminal(folder: Path, arguments: tuple[str, ...], environment: dict[str, str], name: str) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    terminal = os.open(name, os.O_RDWR)
    for number in range(3):
        os.dup2(terminal, number)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv = ["gpu_ssl", *arguments]
    runpy.run_module("gpu_ssl", run_name="__main__", alter_sys=True)
