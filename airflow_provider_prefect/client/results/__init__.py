"""Read what a flow run or task run has returned."""
