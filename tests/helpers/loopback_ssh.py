"""A real ssh server on this machine, with its own keys and port; and an adb whose phone is an emulated processor."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def loopback(folder: Path) -> Iterator[str]:
    """Starts the server; yields the `ssh` command that reaches it as the host `board`."""
    folder.mkdir(mode=0o700)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nUsePAM no\n"
        f"StrictModes no\nPidFile {folder}/pid\nPasswordAuthentication no\n"
    )
    (folder / "ssh").write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n  IdentityFile {folder}/user\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known\n  StrictHostKeyChecking no\n  LogLevel ERROR\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"ssh -F {folder}/ssh"
    finally:
        server.terminate()
        server.wait(10)


ADB = '''#!{python}
"""adb -s phone shell TEXT | push SOURCE TARGET: /data/local/tmp is a folder here, and the processor is emulated."""
import shlex, shutil, subprocess, sys
DATA, EMULATED = {data!r}, {emulated!r}
if sys.argv[1:3] != ["-s", "phone"]:
    sys.exit(f"error: device '{{sys.argv[2]}}' not found")
verb, *rest = sys.argv[3:]
with open({log!r}, "a") as log:
    log.write(verb + " " + " ".join(rest) + "\\n")
here = lambda text: text.replace("/data/local/tmp", DATA)
if verb == "push":
    shutil.copytree(rest[0], here(rest[1]), dirs_exist_ok=True)
elif rest == ["uname -m"]:
    print("aarch64")
else:
    (text,) = rest
    words = shlex.split(here(text))
    sys.exit(subprocess.run([*EMULATED, *words] if words[0].endswith("ld-linux-aarch64.so.1") else words).returncode)
'''


def phone(folder: Path, emulated: list[str]) -> Path:
    """Writes an `adb` into a folder for the PATH; its log and its data are beside it."""
    (folder / "bin").mkdir(parents=True)
    (folder / "data").mkdir()
    program = folder / "bin" / "adb"
    values = {"python": sys.executable, "data": str(folder / "data"), "emulated": emulated, "log": str(folder / "log")}
    program.write_text(ADB.format(**values))
    program.chmod(0o755)
    return folder / "bin"
