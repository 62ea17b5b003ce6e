"""A folder on a file system of a few kilobytes, so that a disk is really full."""

import subprocess

import pytest

from common.paths import ROOT


def on_a_small_disk(folder, size, script):
    """Run a shell script, in the project's folder, where `folder` is a file system of that size (`4m`) of its own.

    The script may enlarge it by `mount -o remount,size=8m FOLDER`; what is left there is gone at its end.
    """
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    wrapped = f"mount -t tmpfs -o size={size} tmpfs {folder} && cd {ROOT} && {script}"
    return subprocess.run(["unshare", "-rm", "sh", "-c", wrapped], capture_output=True, text=True, timeout=300)
