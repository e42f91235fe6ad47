"""The time machine: what CronHPAs, HPAs, node pools, pod starts and drains do to a sale's capacity, second by second."""
