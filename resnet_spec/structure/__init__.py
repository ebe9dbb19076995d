"""Compares networks by what they compute, regardless of names and of how it is written.

In order: ``forms`` turns a graph into ``steps``, one form for everything that computes the same (with
``activation_recognition`` and ``affine_folding``); ``matching`` finds which step of one network is which of the other;
``comparison`` takes from there the array of each parameter.
"""
