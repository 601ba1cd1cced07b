"""What the pipelines over photographs share: pictures, compositing, parameters, and the page of a data set."""
