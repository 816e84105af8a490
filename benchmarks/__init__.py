"""What the figures in the documents come from. Each file is a program of its own: `python benchmarks/NAME.py --help`, or with `-m`."""
