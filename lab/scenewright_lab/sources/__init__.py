"""Where the page takes its objects from: a folder, an object store, or a cluster."""
