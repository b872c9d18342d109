"""Models for images of the user's own: fitted once, kept on disk, asked again and again."""
