"""The tools that start servers and run the tests."""
