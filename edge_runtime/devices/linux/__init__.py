"""Linux without Python: a runner in C++, the libraries that it needs and the bundles, in one folder.

The runner's sources lie here beside what builds it. `apps` has the devices; `toolchain` compiles, `libraries` finds
what is linked, `kernels` reads which operators a program needs.
"""
