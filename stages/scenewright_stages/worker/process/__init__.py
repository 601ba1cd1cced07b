"""What every step of a worker process shares: settings, output lock, progress, logs, time limits and endings."""
