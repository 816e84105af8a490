"""How the networks that ship beside the generators are trained: what all these trainings share, autoencoders and face embedders."""
