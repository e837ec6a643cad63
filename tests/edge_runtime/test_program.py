"""How programs end that are stopped from outside."""

import signal
import subprocess
import sys
import textwrap

PROGRAM = textwrap.dedent(
    """
    import multiprocessing, sys, tempfile, time
    from edgekit.edge_runtime.program import program

    def sleep(up):
        up.send("up")
        time.sleep(60)

    @program(interrupted="interrupted; the same command goes on")
    def main():
        ours, theirs = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=sleep, args=(theirs,))
        child.start()
        ours.recv()
        with tempfile.TemporaryDirectory(dir=sys.argv[1]):
            if sys.argv[2] == "child":
                child.terminate()
                child.join()
                print(child.exitcode, flush=True)
                return
            try:
                print("ready", flush=True)
                time.sleep(60)
            finally:
                child.kill()
                child.join()

    sys.exit(main())
    """
)


def _started(folder, what):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, folder, what], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_terminated_program_cleans_up_and_says_how_to_go_on(tmp_path):
    process = _started(tmp_path, "self")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "error: interrupted; the same command goes on\n")
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_it_forked_ends_by_the_signal_itself(tmp_path):
    process = _started(tmp_path, "child")
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (0, f"{-signal.SIGTERM}\n", "")
