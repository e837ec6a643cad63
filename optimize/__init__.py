"""Makes artifacts: takes a trained module through capture, quantization and lowering to a verified bundle.

The whole pipeline is `pack.pack_bundle`; what is done to the weights is a recipe, what file comes out an exporter.
"""
