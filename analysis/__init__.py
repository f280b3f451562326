"""From run directories to tables; reads files only, nothing of torch or Hydra."""
