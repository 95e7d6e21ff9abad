"""The simulated Azure Resource Manager: Azure Sphere catalogs and IoT Hub resources."""
