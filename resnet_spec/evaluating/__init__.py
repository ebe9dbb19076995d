"""The accuracy of a network on a folder of images, in one backend or several, and on which images they differ."""
