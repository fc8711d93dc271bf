"""Ctrl-C is heard in tests, also where they were started with SIGINT ignored, as by ``nohup make test &``."""

import os
import signal
import subprocess
import sys

import pytest


def test_ctrl_c_is_heard():
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_children_hear_it_too():
    script = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "True\n"
