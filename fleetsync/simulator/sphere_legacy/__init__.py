"""The simulated legacy API of Azure Sphere."""
