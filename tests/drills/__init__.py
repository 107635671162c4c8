"""Drills: real servers, real kills and real faults, and flow runs counted against task instances. See `make drills`."""
