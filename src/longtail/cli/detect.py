"""`longtail-detect`: compose a detector on the command line, train it, test its last epoch, leave a run directory."""

from longtail.cli import train


def main() -> None:
    """The command `longtail-detect`."""
    train.start("detect")


if __name__ == "__main__":
    main()
