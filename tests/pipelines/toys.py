"""Components without a library: words in, words out."""

import pathlib
import sys
import time

from pipelines.definition import Component, Pipeline, Previous
from pipelines.runners import local


class Source(Component):
    """Copies a file."""

    OUTPUTS = {"words": "Words"}

    def __init__(self, path):
        super().__init__("Source", {}, {}, [str(path)])

    def execute(self, context):
        text = pathlib.Path(self.files[0]).read_text()
        (context.outputs["words"] / "words.txt").write_text(text)


class Upper(Component):
    """Writes in capitals; `seconds` later, after one half of it."""

    OUTPUTS = {"words": "Words"}

    def __init__(self, words, seconds=0.0, mark="!"):
        super().__init__("Upper", {"words": words}, {"seconds": seconds, "mark": mark})

    def execute(self, context):
        text = (context.read("words") / "words.txt").read_text().upper()
        output = context.outputs["words"] / "words.txt"
        output.write_text(text[: len(text) // 2])
        time.sleep(self.parameters["seconds"])
        output.write_text(text + self.parameters["mark"])


class Judge(Component):
    """Stops where the words got shorter, fails without any."""

    OUTPUTS = {"verdict": "Verdict"}

    def __init__(self, words):
        before = Previous(words, approved_by="Judge")
        super().__init__("Judge", {"words": words, "before": before}, {})

    def execute(self, context):
        words = (context.read("words") / "words.txt").read_text()
        if words == "!":
            raise ValueError("there are no words")
        before = context.inputs["before"]
        (context.outputs["verdict"] / "verdict.txt").write_text(str(before))
        if before and len((before / "words.txt").read_text()) > len(words):
            return "the words got shorter"
        return None


class Sink(Component):
    """Copies to a place outside of the pipeline."""

    OUTPUTS = {"place": "Place"}

    def __init__(self, words, verdict, place):
        inputs = {"words": words, "verdict": verdict}
        super().__init__("Sink", inputs, {"place": str(place)})

    def execute(self, context):
        text = (context.read("words") / "words.txt").read_text()
        pathlib.Path(self.parameters["place"]).write_text(text)

    def is_current(self, outputs):
        return pathlib.Path(self.parameters["place"]).exists()


def make_pipeline(folder, **options):
    """Reads `folder/in.txt`, writes `folder/out.txt`."""
    source = Source(folder / "in.txt")
    upper = Upper(source.outputs["words"], **options)
    judge = Judge(upper.outputs["words"])
    sink = Sink(upper.outputs["words"], judge.outputs["verdict"], folder / "out.txt")
    return Pipeline("toy", [source, upper, judge, sink])


if __name__ == "__main__":
    # A process to kill.
    folder = pathlib.Path(sys.argv[1])
    local.run(make_pipeline(folder, seconds=float(sys.argv[2])), folder / "root")
