"""The launcher's older name; see `run`."""

from .run import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
