"""Memory estimates for `anti-i2v plan`: the memory of a training step against a surrogate, from configuration files alone.

See `estimate.estimate_memory`.
"""
