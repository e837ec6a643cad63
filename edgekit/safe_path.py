"""Keeps Python from looking for modules in the current folder, which is the user's. Imports nothing of edgekit."""

import os
import sys


def leave_out_current_folder() -> None:
    """Takes the current folder off the search path, for a program of ours that has just been started.

    `python -m` puts it first, and an empty entry of PYTHONPATH, as in ":/home/me/lib", means it too: a torch.py or
    click.py there would be run in place of the library. Processes that libraries start leave it out as well. An entry
    that names the folder stays: that was asked for.
    """
    given = os.environ.get("PYTHONPATH", "")
    entries = [entry for entry in given.split(os.pathsep) if entry]
    try:
        here = os.getcwd()
    except FileNotFoundError:  # the folder was removed, and nothing can be found in it
        here = ""
    named = here in map(os.path.abspath, entries)
    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", here):
        del sys.path[0]
    if given and not named and len(entries) < len(given.split(os.pathsep)):
        sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]
    if given:
        os.environ["PYTHONPATH"] = os.pathsep.join(entries)
    os.environ["PYTHONSAFEPATH"] = "1"
