"""Group relative policy optimisation: TRL's trainer, with rollouts that are the trainer's own policy."""
