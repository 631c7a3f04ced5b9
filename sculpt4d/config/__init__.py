"""The configuration as a person sees it: settings with their bounds, and overrides. Imports nothing heavy."""
