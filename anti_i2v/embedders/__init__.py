"""Identity embedders: networks that tell people apart, as objectives to train against or as judges, never both."""
