from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

# Everything is declared in setup.cfg, which cannot derive one value from another.
config = ConfigParser()
config.read(Path(__file__).with_name("setup.cfg"))
home = config["metadata"]["url"]

setup(
    project_urls={
        "Documentation": f"{home}/tree/main/docs",
        "Source": home,
        "Changelog": f"{home}/blob/main/CHANGELOG.rst",
        "Issues": f"{home}/issues",
    }
)
