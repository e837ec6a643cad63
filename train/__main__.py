"""`python -m edgekit.train MODEL`: the same as `edgekit train`, from a source checkout, without typer and rich.

The program is named, not imported: what prints lies in `edgekit/cli`, and nothing here depends on that.
"""

import runpy

from edgekit.safe_path import leave_out_current_folder

if __name__ == "__main__":
    leave_out_current_folder()
    runpy.run_module("edgekit.cli.train_program", run_name="__main__")
