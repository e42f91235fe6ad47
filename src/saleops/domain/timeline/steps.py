"""What happens in the queue of a simulation, and in which order within one second."""

from typing import Literal

Step = Literal[
    "node", "boot", "ready", "leave", "gone", "empty", "reclaim", "cron", "demand", "look"
]
ORDER: dict[Step, int] = {
    "node": 0,
    "boot": 0,
    "ready": 1,
    "leave": 2,
    "gone": 2,
    "empty": 3,
    "reclaim": 4,
    "cron": 5,
    "demand": 6,
    "look": 7,
}
