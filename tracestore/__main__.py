"""`python -m tracestore`: the command line without an installed script."""

from tracestore.cli import main

if __name__ == "__main__":
    main(prog_name="tracestore")
