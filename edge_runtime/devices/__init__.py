"""What leaves Python: complete small programs around the bundle's own files, one folder for each kind of device.

`registry` lists the kinds, `app` writes one. Each app carries the bundle as it is, checks its files, replays its golden
samples and shows how close the answers are. Nothing here runs a model.
"""
