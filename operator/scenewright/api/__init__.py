"""The API of scenewright.io/v1alpha1 as pydantic models, and the CustomResourceDefinitions generated from them."""
