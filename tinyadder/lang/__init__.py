"""The language: affine forms over named lanes, sublayers, programs, and how they print
themselves.
"""
