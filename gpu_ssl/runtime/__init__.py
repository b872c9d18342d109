"""Where code runs: the device, the handoff between libraries, timing, files."""
