"""The publish step: final states, manifests, summary, pages, and the removal of files that are published no longer."""
