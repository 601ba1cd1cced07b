"""What a person looks at: report pages with an interactive 3D view, recordings for Rerun, contact sheets."""
