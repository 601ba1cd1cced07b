"""What the operator tells of itself: metrics, Events, and the endpoint to which stage Pods push their progress."""
