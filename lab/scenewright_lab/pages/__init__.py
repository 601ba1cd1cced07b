"""The handlers of the pages, their templates and their scripts."""
