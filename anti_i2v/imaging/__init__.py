"""Photo files and pictures: what is read, what is refused, what is kept beside the pixels, and how it is written.

Pillow, NumPy and the standard library only: whoever protects photos without torch reads and writes them by the same code.
"""
