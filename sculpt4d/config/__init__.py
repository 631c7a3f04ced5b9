"""User configuration: settings with their bounds, and overrides. Imports nothing heavy."""
