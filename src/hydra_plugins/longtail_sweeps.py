"""What Hydra looks for in this folder: the sweeper and the launchers of `longtail -m`."""

from longtail.sweeps import grid, launcher, search, slurm


class Grid(grid.Grid):
    """See `longtail.sweeps.grid`."""


class Search(search.Search):
    """See `longtail.sweeps.search`."""


class Workers(launcher.Workers):
    """See `longtail.sweeps.launcher`."""


class Slurm(slurm.Slurm):
    """See `longtail.sweeps.slurm`."""
