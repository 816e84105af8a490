"""Judging protection: measures on features and clips, and the trial that animates several versions of one photo."""
