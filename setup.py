"""The build step that pyproject.toml cannot state: `conf` and the tiny weights are copied into the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = {"conf": "**/*.yaml", "weights": "tiny/*"}


class BuildWithResources(build_py):
    """A wheel holds sculpt4d/conf and sculpt4d/weights; an editable install finds both in the checkout."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for path in self.shipped():
                target = Path(self.build_lib, "sculpt4d", path)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        copied = [] if self.editable_mode else [str(Path(self.build_lib, "sculpt4d", path)) for path in self.shipped()]
        return [*super().get_outputs(include_bytecode), *copied]

    def shipped(self) -> list[Path]:
        """Files to copy, relative to the checkout."""
        return sorted(path for folder, pattern in SHIPPED.items() for path in Path(folder).glob(pattern))


setup(cmdclass={"build_py": BuildWithResources})
