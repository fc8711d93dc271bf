"""One process at a time writes to a folder."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from vqdiffusion_jax.errors import DataError
from vqdiffusion_jax.folder_lock import FolderLock


def lock(folder, **options):
    return FolderLock(folder, "run.lock", doing="writing", flag="--out", error=DataError, **options)


def test_a_second_holder_is_refused_in_one_line(tmp_path):
    with lock(tmp_path):
        with pytest.raises(
            DataError, match=rf"another run is writing in .* \(process {os.getpid()} on .*--out"
        ) as error:
            lock(tmp_path)
        assert "\n" not in str(error.value)
        lock(tmp_path, held=False).close()  # one that leaves it to another process of the same run
    assert not list(tmp_path.iterdir())
    lock(tmp_path).close()


def test_what_a_killed_process_left_locks_nothing(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from tests.test_folder_lock import lock\n"
        "held = lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(DataError, match=f"process {process.pid} on"):
        lock(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "run.lock").exists()
    lock(tmp_path).close()


def test_a_folder_that_is_gone_is_told(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with lock(folder) as held:
        held.check()
        shutil.rmtree(folder)
        with pytest.raises(DataError, match="run is gone: it was deleted, moved or unmounted.* run; put it back"):
            held.check()
        folder.mkdir()
        with pytest.raises(DataError, match="run is gone: .* run; a new folder of its name is in the way, .*; put it"):
            held.check()
