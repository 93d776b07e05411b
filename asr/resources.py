"""Where the configs and recipes lie: inside an installed package, beside it in a checkout."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def resource_directory(name: str) -> Path:
    """The folder `configs` or `recipes`.

    >>> (resource_directory("configs") / "config.yaml").is_file()
    True
    """
    for folder in (PACKAGE / name, PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"expected the folder {name} in {PACKAGE} or beside it; is the installation whole?")
