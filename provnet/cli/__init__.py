"""The command line: each command a few calls. The commands are in files by what they ask.

Importing a group's file adds its commands to the application, in the order of `provnet.command.GROUPS`.
"""

from importlib import import_module

from provnet.cli.application import app
from provnet.command import GROUPS

for _group in GROUPS:
    import_module(f"provnet.cli.{_group}")

__all__ = ["app"]
