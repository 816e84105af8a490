"""Photo files and pictures: what is read, what is refused, which metadata stays, and how it is written.

Pillow, NumPy and the standard library only: whoever protects photos without torch reads and writes them by the same code.
"""
