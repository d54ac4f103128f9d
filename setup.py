"""The packages of the wheel: bodyjax, and configs/ inside it as bodyjax.configs. The rest of what
setuptools needs to know is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["bodyjax", "bodyjax.*"]), "bodyjax.configs"],
    package_dir={"bodyjax.configs": "configs"},
)
