"""What is taught, one file each; `train.run` names them all."""
