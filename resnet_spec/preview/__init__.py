"""A page on this machine that follows spec files while they are edited.

``content`` computes what is shown of a file, ``page`` renders it, ``watching`` notices changes, and ``server`` sends
them to browsers.
"""
