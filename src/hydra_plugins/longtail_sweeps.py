"""What Hydra looks for in this folder: the sweeper and the launcher of `longtail -m`."""

from longtail.sweeps import grid, launcher


class Grid(grid.Grid):
    """See `longtail.sweeps.grid`."""


class Workers(launcher.Workers):
    """See `longtail.sweeps.launcher`."""
