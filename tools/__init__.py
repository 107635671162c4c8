"""What the Makefile, the demo and the tests use to make environments and to run real servers.

Standard library only: these files run on a bare Python 3.11, 3.12 or 3.13, before anything is installed.
"""
