"""One file for each family of video pipelines: how it turns a photo into the arguments of its denoiser."""
