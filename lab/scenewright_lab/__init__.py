"""The web page of a lab: what runs, what came out, and a way to start the next one (`scenewright serve`)."""
