"""The commands of the command line: one file each, `command` inside, the docstring's first line as its
summary.

A command imports click and light modules at its top and everything heavy (torch, hypothesis) inside
its function, raises `TinyadderError` for a user's mistake, and returns its exit code (None is 0).
"""
