"""How a computation runs: attention kernels and devices."""
