"""Imported last by the interpreter that processes are forked from."""

from support import brief

brief.warm_up()
