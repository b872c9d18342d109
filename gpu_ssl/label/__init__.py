"""``gpu-ssl label``: a page to label images on, while models learn from what was said so far."""
