"""The endpoint to which stage Pods push their counters: advisory, authenticated offline, forgotten when a run ends."""
