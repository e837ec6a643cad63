"""A device at home: copies the runner and a bundle to it, replays and measures there, and brings the figures back.

`places` reaches devices by ssh or adb; `remote` does the rest. `python -m edgekit.edge_runtime.devices.runner` is the
same without the command's tables.
"""
