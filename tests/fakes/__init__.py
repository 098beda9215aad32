"""Fakes that keep the promises of the ports in memory. They pass the same contract suite as the real stores."""
