"""Photo files and pictures: what is read, what is refused, which metadata stays, and how it is written.

Pillow, NumPy and the standard library only: photos are read and written by the same code with and without torch.
"""
