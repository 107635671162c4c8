"""What waiting for many flow runs costs, measured beside what others do: ``make bench``."""
