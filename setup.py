"""Builds the C evaluator with the wheel where a compiler is at hand; without one the server uses ONNX Runtime."""

from glob import glob

from setuptools import Extension, find_namespace_packages, setup

setup(
    packages=find_namespace_packages(include=["serving*", "components*", "pipelines*"]),
    package_data={"components.use_cases": ["data/*"], "pipelines": ["compiled/*.yaml"]},
    ext_modules=[
        Extension(
            "serving.native._native",
            sorted(glob("serving/native/*.c")),
            depends=sorted(glob("serving/native/*.h")),
            extra_compile_args=["-O3", "-std=c11", "-fno-math-errno", "-ffp-contract=off", "-Wall", "-Wextra"],
            optional=True,
        )
    ]
    if glob("serving/native/*.c")
    else [],
)
