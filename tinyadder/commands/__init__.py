"""The commands of `tinyadder`: one file each, with `command` inside and a docstring whose first
line is its summary.

A command imports click and light modules at its top and everything heavy (torch, hypothesis) inside
its function, raises `TinyadderError` for a user's mistake, and returns its exit code (None is 0).
"""
