"""The diffusion mathematics: objectives (what is learned), guidance, sampling; schedules and solvers are diffusers'."""
