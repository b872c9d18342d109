"""Each method on one page: features of all images, and an SVM on those of the labelled ones."""
