"""What operators, the sensor, the trigger and the hook share."""
