"""The one thing that pyproject.toml cannot say for good yet: what is compiled."""

from setuptools import Extension, setup

# Where this cannot be built, for want of a compiler, say, all works without it, and a search takes longer.
SCAN = Extension(
    "clipcore.index._scan",
    ["clipcore/index/_scan.c"],
    extra_compile_args=["-O3", "-pthread"],
    extra_link_args=["-pthread"],
    optional=True,
)

setup(ext_modules=[SCAN])
