"""``python -m gpu_ssl`` is ``gpu-ssl``."""

import signal
import threading

if threading.current_thread() is threading.main_thread() and (
    signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    # Until the program has installed its own handler, Ctrl-C ends the process without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from gpu_ssl.cli import entry_point

if __name__ == "__main__":
    entry_point()
