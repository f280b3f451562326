"""Several processes in one run, started by torchrun: who this process is, and what the processes exchange.

Imports: errors, signals.
"""
