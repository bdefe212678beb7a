"""Builds the C evaluator with the wheel where a compiler is at hand; without one the server uses ONNX Runtime."""

from pathlib import Path

from setuptools import Extension, find_namespace_packages, setup

NATIVE = Path("serving/native")
SOURCES = sorted(str(path) for path in NATIVE.glob("*.c"))
HEADERS = sorted(str(path) for path in NATIVE.glob("*.h"))

setup(
    packages=find_namespace_packages(include=["serving*", "components*", "pipelines*"]),
    package_data={"components.use_cases": ["data/*"], "pipelines": ["compiled/*.yaml"]},
    ext_modules=[
        Extension(
            "serving.native._native",
            SOURCES,
            depends=HEADERS,
            extra_compile_args=(NATIVE / "flags").read_text().split(),
            optional=True,
        )
    ],
)
