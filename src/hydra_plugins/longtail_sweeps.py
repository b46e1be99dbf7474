"""What Hydra looks for in this folder: the sweeper and the launchers of `longtail -m`."""

from longtail.sweeps import grid, launcher, slurm


class Grid(grid.Grid):
    """See `longtail.sweeps.grid`."""


class Workers(launcher.Workers):
    """See `longtail.sweeps.launcher`."""


class Slurm(slurm.Slurm):
    """See `longtail.sweeps.slurm`."""
