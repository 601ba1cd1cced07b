"""What is said: writes of status, and the metrics that follow from it."""
