"""The InfraValidator on tiny models, good and bad."""

import pytest
import tensorflow as tf

from pipelines.components.infra_validator import InfraValidator
from pipelines.data import layout, probe
from pipelines.definition import Channel, Context


def write_model(folder, answer, signatures=("serve_examples", "serving_default")):
    """A model that gives the same answer to all."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serve_examples(examples):
        return {"click": tf.fill(tf.shape(examples), answer)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "age")])
    def serving_default(age):
        return {"click": tf.fill(tf.shape(age), answer)}

    module.functions = {
        "serve_examples": serve_examples,
        "serving_default": serving_default,
    }
    chosen = {name: module.functions[name] for name in signatures}
    tf.saved_model.save(module, str(folder / layout.SERVING_MODEL), chosen)


def write_examples(folder):
    path = layout.split_folder(folder, "eval") / "data.gz"
    path.parent.mkdir(parents=True)
    example = tf.train.Example()
    example.features.feature["age"].float_list.value.append(30.0)
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        writer.write(example.SerializeToString())


def execute(folder, **options):
    """Reason of the component, and the name of the blessing."""
    validator = InfraValidator(
        Channel("Trainer", "model", "Model"),
        Channel("ExampleGen", "examples", "Examples"),
        "eval",
        num_requests=2,
        **options,
    )
    write_examples(folder / "examples")
    inputs = {"model": folder / "model", "examples": folder / "examples"}
    output = folder / "blessing"
    output.mkdir()
    reason = validator.execute(Context(inputs, {"blessing": output}))
    [blessing] = output.iterdir()
    return reason, blessing.name


def test_model_that_answers_is_blessed(tmp_path):
    write_model(tmp_path / "model", 0.5)
    assert execute(tmp_path) == (None, "INFRA_BLESSED")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"answer": float("nan")}, "ValueError: Output 'click' is not finite."),
        (
            {"answer": 0.5, "signatures": ["serving_default"]},
            "ValueError: It has no signature 'serve_examples': ['serving_default'].",
        ),
    ],
)
def test_model_that_cannot_be_served_is_refused(tmp_path, options, reason):
    write_model(tmp_path / "model", **options)
    expected = f"the model cannot be served. {reason}"
    assert execute(tmp_path) == (expected, "INFRA_NOT_BLESSED")


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import time; time.sleep(60)", "It did not answer within 2 seconds."),
        (
            "import os, sys; print('fine', file=sys.stderr, flush=True); "
            "os.kill(os.getpid(), 9)",
            "It was ended by SIGKILL.",
        ),
        ("import sys; sys.exit(1)", "It ended without a message."),
    ],
)
def test_process_that_does_not_answer_is_told_of(
    tmp_path, monkeypatch, program, reason
):
    path = tmp_path / "program.py"
    path.write_text(program)
    monkeypatch.setattr(probe, "__file__", str(path))
    expected = f"the model cannot be served. {reason}"
    # A process that ends by itself needs its time to start.
    timeout = 2 if "within 2" in reason else 60
    assert execute(tmp_path, timeout=timeout) == (expected, "INFRA_NOT_BLESSED")
