"""Train, validate or test from the command line: `python train.py fit` with nothing further trains the default generator.

Everything is in `anti_i2v.training.cli`; this file only gives it the name people look for.
"""

from anti_i2v.training.cli import main

if __name__ == "__main__":
    main()
