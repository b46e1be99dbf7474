"""`python -m longtail.benchmark`."""

from longtail.benchmark import main

if __name__ == "__main__":
    main()
