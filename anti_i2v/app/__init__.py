"""The local page of `anti-i2v app`: photos in, the files of `anti-i2v protect` out, for people who have no command line."""
