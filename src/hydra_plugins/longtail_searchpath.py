"""What Hydra looks for in this folder: where installed packages keep further options."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from longtail.cli import installed


class Installed(SearchPathPlugin):
    """See `longtail.cli.installed`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Look for options in installed packages, after `conf/` and before `--config-dir`."""
        for folder in installed.folders():
            search_path.append("longtail", f"file://{folder}")
