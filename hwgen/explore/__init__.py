"""Which accelerator for these networks: many designs by cycle model and resource estimator, and the best of them."""
