"""A cloud that tells people when it does not answer, while the call is tried again: silence looks like a hang."""

from typing import TYPE_CHECKING

from saleops.domain.cloud.calls import Answer, Call
from saleops.errors import CloudError
from saleops.events import Warned

if TYPE_CHECKING:
    from saleops.cli.screen import Screen
    from saleops.ports.cloud import Cloud, CloudClock


class TellingCloud:
    """``cloud``, and ``screen`` hears of the first call of each silence."""

    def __init__(self, cloud: "Cloud", screen: "Screen") -> None:
        self._cloud = cloud
        self._screen = screen
        self._silent = False

    @property
    def name(self) -> str:
        return self._cloud.name

    @property
    def region(self) -> str:
        return self._cloud.region

    @property
    def clock(self) -> "CloudClock":
        return self._cloud.clock

    def send(self, call: Call, *, token: str = "") -> Answer:
        try:
            answer = self._cloud.send(call, token=token)
        except CloudError as error:
            unanswered = not error.status and not error.request_id and error.retryable
            if unanswered and not self._silent:
                self._silent = True
                self._screen.observe(
                    Warned(f"no answer: {error.message}; it is asked again for a while")
                )
            raise
        self._silent = False
        return answer
