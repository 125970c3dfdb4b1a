"""InfraValidator: loads the export as a server would, and asks it."""

import json
import signal
import subprocess
import sys

from pipelines.definition import Channel, Component, Context

INFRA_BLESSED, INFRA_NOT_BLESSED = "INFRA_BLESSED", "INFRA_NOT_BLESSED"


class InfraValidator(Component):
    """Asks a model real requests, in a process that knows TensorFlow alone.

    The first examples of a split are asked as serialized examples and by their columns,
    all together and one by one; the answers must be finite and equal. So must be those
    to an example without any feature. Stops otherwise.

    Args:
        model: the model.
        examples: raw examples.
        split: the split to take requests from.
        num_requests: number of examples.
        timeout: float. Seconds for loading and all answers.
        name: name of the component.
    """

    OUTPUTS = {"blessing": "InfraBlessing"}

    def __init__(
        self,
        model: Channel,
        examples: Channel,
        split: str,
        num_requests: int,
        timeout: float = 600.0,
        name: str = "InfraValidator",
    ):
        parameters = {
            "split": split,
            "num_requests": num_requests,
            "timeout": timeout,
        }
        super().__init__(name, {"model": model, "examples": examples}, parameters)

    def execute(self, context: Context) -> str | None:
        """Starts the process and reads what it found."""
        from pipelines.data import layout, probe

        command = [
            sys.executable,
            # Without the modules beside the script: some have names of Python's own.
            "-P",
            probe.__file__,
            str(context.read("model") / layout.SERVING_MODEL),
            layout.examples_pattern(context.read("examples"), self.parameters["split"]),
            str(self.parameters["num_requests"]),
        ]
        timeout = self.parameters["timeout"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            late = f"It did not answer within {timeout:g} seconds."
            done = subprocess.CompletedProcess(command, 1, "", late)
        reason = None
        if done.returncode:
            reason = f"the model cannot be served. {_why(done)}"
        name = INFRA_BLESSED if reason is None else INFRA_NOT_BLESSED
        text = json.dumps({"stdout": done.stdout, "stderr": done.stderr}, indent=2)
        (context.outputs["blessing"] / name).write_text(text)
        return reason


def _why(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        # What it logged before says nothing of it.
        number = -done.returncode
        known = number in set(signal.Signals)
        name = signal.Signals(number).name if known else f"signal {number}"
        return f"It was ended by {name}."
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else "It ended without a message."
