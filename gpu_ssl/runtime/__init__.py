"""The runtime: devices, handoff between libraries, processes, timing, files."""
