"""One Study for all experiments: arms, seeds and shares of the data, run one by one in a folder."""
