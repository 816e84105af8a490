"""From photo files to protected files: one photo, a folder, tar shards; in this process, in several, on many machines."""
