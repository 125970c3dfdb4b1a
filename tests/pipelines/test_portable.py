from pipelines.definition import Context
from pipelines.runners import portable

from . import toys


def test_component_does_the_same_work_after_dump_and_load(tmp_path):
    words = tmp_path / "in.txt"
    words.write_text("one two")
    source = toys.Source(words)
    loaded = portable.load(portable.dump(source, with_content=False))
    assert loaded.name == "Source"
    assert loaded.parameters == source.parameters
    output = tmp_path / "out"
    output.mkdir()
    loaded.execute(Context({}, {"words": output}))
    assert (output / "words.txt").read_text() == "one two"


def test_text_changes_with_the_content_of_a_file(tmp_path):
    words = tmp_path / "in.txt"
    words.write_text("one two")
    before = portable.dump(toys.Source(words), with_content=True)
    assert portable.dump(toys.Source(words), with_content=True) == before
    words.write_text("one three")
    assert portable.dump(toys.Source(words), with_content=True) != before


def test_text_changes_with_a_parameter():
    words = toys.Source("in.txt").outputs["words"]
    plain, marked = toys.Upper(words), toys.Upper(words, mark="?")
    assert portable.dump(plain, True) != portable.dump(marked, True)
