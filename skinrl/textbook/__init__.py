"""From textbook knowledge to reasoning trajectories for SFT."""
