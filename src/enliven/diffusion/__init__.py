"""The mathematics without networks: clips, guidance, sampling."""
