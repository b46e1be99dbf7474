"""`longtail-detect`: compose a detector on the command line, train it, test its last epoch, leave a run directory."""

from longtail.cli import app, train


def main() -> None:
    """The command `longtail-detect`."""
    app.main("detect", train.run)


if __name__ == "__main__":
    main()
