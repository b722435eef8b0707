"""`python -m causaltest` is the command `causaltest`."""

from causaltest.cli import main

if __name__ == "__main__":
    main(prog_name="causaltest")
