"""The `edgekit` command, and `python -m edgekit`, which is the same."""

from edgekit.safe_path import leave_out_current_folder


def main() -> None:
    """Runs the command; what it needs is imported only when the current folder is no place to find it in."""
    leave_out_current_folder()
    from edgekit.cli import main as run

    run()


if __name__ == "__main__":
    main()
