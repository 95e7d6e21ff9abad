"""The simulated Azure IoT Hub."""
