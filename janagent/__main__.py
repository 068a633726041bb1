"""`python -m janagent` is the same as `janagent`."""

from janagent.cli import main

if __name__ == "__main__":
    main()
