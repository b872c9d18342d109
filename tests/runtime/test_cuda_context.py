"""CUDA's context is created beside the import of torch if there is a driver; otherwise nothing happens."""

import ctypes
import subprocess
import sys
import threading
from typing import Any

import pytest

from gpu_ssl.runtime import cuda_context
from gpu_ssl.runtime.cuda_context import begin_context


class Driver:
    """Stands for the driver's library, and notes what is called, in which thread."""

    def __init__(self, fails: str = "") -> None:
        self.calls: list[tuple[str, int | None]] = []
        self.threads: set[str] = set()
        self.fails = fails

    def _called(self, name: str, number: int | None) -> int:
        self.calls.append((name, number))
        self.threads.add(threading.current_thread().name)
        return 100 if name == self.fails else 0

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self._called("cuInit", flags)

    def cuDeviceGet(self, device: Any, number: int) -> int:  # noqa: N802
        device._obj.value = number
        return self._called("cuDeviceGet", number)

    def cuDevicePrimaryCtxRetain(self, context: Any, device: ctypes.c_int) -> int:  # noqa: N802
        return self._called("cuDevicePrimaryCtxRetain", device.value)


def begun(monkeypatch: pytest.MonkeyPatch, device: str, fails: str = "") -> Driver:
    driver = Driver(fails)
    monkeypatch.setattr(cuda_context.ctypes, "CDLL", lambda name: driver)
    thread = begin_context(device)
    if thread is not None:
        thread.join()
    return driver


@pytest.mark.parametrize(("device", "number"), [("auto", 0), ("cuda", 0), ("cuda:3", 3)])
def test_the_context_of_the_device_asked_for_is_made_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, device: str, number: int
) -> None:
    driver = begun(monkeypatch, device)
    assert driver.calls == [("cuInit", 0), ("cuDeviceGet", number), ("cuDevicePrimaryCtxRetain", number)]
    assert driver.threads == {"cuda-context"}


def test_each_of_several_processes_makes_that_of_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert begun(monkeypatch, "auto").calls[-1] == ("cuDevicePrimaryCtxRetain", 2)


@pytest.mark.parametrize("device", ["cpu", "cuda:x", "tpu", ""])
def test_for_other_devices_the_driver_is_not_looked_for(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    assert begun(monkeypatch, device).calls == []


@pytest.mark.parametrize("fails", ["cuInit", "cuDeviceGet"])
def test_after_a_call_that_fails_nothing_more_is_called(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    """Such as without a device: torch finds out by itself, and tells why."""
    assert begun(monkeypatch, "auto", fails).calls[-1][0] == fails


def test_without_a_driver_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_context, "LIBRARY", "libnowhere.so.1")
    before = threading.active_count()
    assert begin_context("auto") is None
    assert threading.active_count() == before


@pytest.mark.parametrize("command", ["run", "fit", "predict"])
def test_commands_begin_it_before_they_import_torch(command: str) -> None:
    arguments = {"run": [], "fit": ["none", "--output", "m"], "predict": ["none", "none"]}[command]
    code = (
        "import sys; from gpu_ssl.runtime import cuda_context; from gpu_ssl.cli import main\n"
        "def begun(device):\n"
        "    print(device, 'torch' in sys.modules); raise SystemExit\n"
        "cuda_context.begin_context = begun\n"
        f"main([{command!r}, *{arguments}], standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "auto False\n", done.stderr
