"""``saleops`` that is killed at its N-th writing call: ``provision_victim.py N before|after ARGUMENT...``.

"before": the intent is written, the call never leaves. "after": the cloud has acted, nobody has read the answer. 0 is never.
"""

import os
import signal
import sys

from saleops.adapters.aliyun_cloud import AliyunCloud
from saleops.cli.main import main
from saleops.cloudapi import api_of
from saleops.domain.cloud.calls import Answer, Call

AT, PHASE = int(sys.argv[1]), sys.argv[2]
send = AliyunCloud.send
writes = 0


def deadly(self: AliyunCloud, call: Call, *, token: str = "") -> Answer:
    global writes
    mine = False
    if not api_of(call.product, call.api).reads:
        writes += 1
        mine = writes == AT
    if mine and PHASE == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    answer = send(self, call, token=token)
    if mine and PHASE == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return answer


AliyunCloud.send = deadly  # type: ignore[method-assign]
sys.exit(main(sys.argv[3:]))
