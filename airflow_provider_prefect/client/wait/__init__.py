"""Wait for a flow run: the one loop (``flow_run``), finding the run to wait for (``newest``), its log (``logs``)."""
