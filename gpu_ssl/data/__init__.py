"""From a name to checked images, and from labels to splits."""
