"""A graph of nearest neighbours in latent space, and labels that spread along its edges."""
