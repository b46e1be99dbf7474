"""`python -m longtail` is `longtail`."""

from longtail.cli.train import main

if __name__ == "__main__":
    main()
