"""Runs a command beside the tests and notes what it printed: `python noted_run.py NOTE PID COMMAND…`.

The note appears when the command has ended. Both end when the process PID does.
"""

import json
import subprocess
import sys
from pathlib import Path

import psutil


def main(note: str, owner: str, *command: str) -> None:
    with Path(note).with_suffix(".out").open("w+") as out, Path(note).with_suffix(".err").open("w+") as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        while process.poll() is None:
            if not psutil.pid_exists(int(owner)):
                process.kill()
            try:
                process.wait(0.5)
            except subprocess.TimeoutExpired:
                continue
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    part = Path(note).with_suffix(".part")
    part.write_text(json.dumps({"stdout": texts[0], "stderr": texts[1], "returncode": process.returncode}))
    part.rename(note)


if __name__ == "__main__":
    main(*sys.argv[1:])
