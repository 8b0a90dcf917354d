"""Declares the extension module, which setuptools only supports experimentally in pyproject.toml."""

from setuptools import Extension, setup

# Optional: without a C compiler numpy scans, about ten times slower.
SCAN = Extension(
    "clipcore.index._scan",
    ["clipcore/index/_scan.c"],
    extra_compile_args=["-O3", "-pthread"],
    extra_link_args=["-pthread"],
    optional=True,
)

setup(ext_modules=[SCAN])
