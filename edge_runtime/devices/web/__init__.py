"""A bundle in a browser: a static folder, or one HTML file, around the bundle's own files and onnxruntime-web.

`engine_files` gets onnxruntime-web by npm, `contract` writes what the page has to know, `writer` fills the folder and
lets Node replay the golden samples in it before it counts as written. `page/` are the files that are the same in every
app. Nothing here runs a model in Python.
"""
