"""Train, validate or test from the command line: `python train.py fit` with nothing further trains the default generator.

Everything is in `anti_i2v.cli`; this file only gives it the name people look for.
"""

from anti_i2v.cli import main

if __name__ == "__main__":
    main()
