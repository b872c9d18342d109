"""``gpu-ssl label``: a page to label images on while models are fitted to the labels so far."""
