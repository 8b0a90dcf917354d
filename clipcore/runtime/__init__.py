"""How models run on the hardware at hand: torch, CUDA, OpenVINO, and the CPU cores they share."""
