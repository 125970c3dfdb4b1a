from tf_mtl.names import unknown_name_error


def test_error_lists_the_names_and_proposes_the_nearest():
    error = unknown_name_error("model", "mmeo", ("ple", "mmoe"))
    assert str(error) == (
        "`model` must be one of ['ple', 'mmoe']. Received: model='mmeo'. "
        "Did you mean 'mmoe'?"
    )


def test_nothing_is_proposed_where_no_name_is_near():
    error = unknown_name_error("model", "resnet", ["ple", "mmoe"])
    assert str(error).endswith("Received: model='resnet'.")


def test_anything_may_be_given_as_a_name():
    error = unknown_name_error("model", None, ["ple"])
    assert str(error).endswith("Received: model=None.")
