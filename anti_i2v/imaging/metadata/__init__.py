"""What photo files say beside their pixels: EXIF, XMP, IPTC, and the mark of a protected file."""
