"""Where the time of a preparation goes: seconds of the processor, stage by stage."""

import time


class StageClock:
    """`lap(stage)` adds what passed since the last lap to that stage. Processor time: other programs do not count."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def lap(self, stage: str) -> None:
        now = time.process_time()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    def rounded(self) -> dict[str, float]:
        return {stage: round(seconds, 3) for stage, seconds in self.seconds.items()}
