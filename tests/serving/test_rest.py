"""REST: the addresses and the JSON of TensorFlow Serving."""

import base64
import http.client
import json
import shutil
import socket
import subprocess
import time

import numpy as np
import pytest

from ..export.conftest import to_examples
from .conftest import RAW, ROWS, take


@pytest.fixture(scope="session")
def rest(server):
    """Function of method, path and body to status and JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port)

    def ask(method, path, body=None):
        body = json.dumps(body) if isinstance(body, dict) else body
        connection.request(method, path, body)
        response = connection.getresponse()
        content = response.read()
        if response.headers["Content-Type"] != "application/json":
            return response.status, content.decode()
        return response.status, json.loads(content)

    yield ask
    connection.close()


@pytest.fixture(scope="session")
def post(rest):
    def ask(body, verb="predict", model="feed"):
        status, answer = rest("POST", f"/v1/models/{model}:{verb}", body)
        assert status == 200, answer
        return answer

    return ask


@pytest.fixture(scope="session")
def error_of(rest):
    def ask(body, path="/v1/models/feed:predict"):
        status, answer = rest("POST", path, body)
        assert list(answer) == ["error"]
        return status, answer["error"]

    return ask


def columns(raw):
    return {name: column.tolist() for name, column in raw.items()}


def rows(raw):
    names = list(raw)
    values = zip(*(column.tolist() for column in raw.values()), strict=True)
    return [dict(zip(names, row, strict=True)) for row in values]


def b64(raw):
    return [{"b64": base64.b64encode(e).decode()} for e in to_examples(raw)]


def assert_predicted(found, predicted):
    assert set(found) == set(predicted)
    for name, values in predicted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-6)


def by_column(predictions):
    return {name: [row[name] for row in predictions] for name in predictions[0]}


@pytest.mark.parametrize("batch", ROWS)
def test_rows_and_columns_are_answered_as_by_predict(post, feed, batch):
    # Missing numbers are NaN, which Python writes and reads as a word.
    raw = take(ROWS[batch])
    predicted = feed.predict(raw)
    assert_predicted(post({"inputs": columns(raw)})["outputs"], predicted)
    predictions = post({"instances": rows(raw)})["predictions"]
    assert_predicted(by_column(predictions), predicted)
    request = {"signature_name": "serve_examples", "instances": b64(raw)}
    assert_predicted(by_column(post(request)["predictions"]), predicted)
    request = {"signature_name": "serve_examples", "inputs": {"examples": b64(raw)}}
    assert_predicted(post(request)["outputs"], predicted)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize("batch", [1, 4096])
def test_curl_gets_what_the_model_predicts(server, feed, batch):
    raw = take(ROWS[batch])
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/feed/versions/1:predict"
    body = json.dumps({"instances": rows(raw)}).encode()
    command = ["curl", "-sS", "-X", "POST", url, "-d", "@-"]
    answer = json.loads(subprocess.check_output(command, input=body))
    assert_predicted(by_column(answer["predictions"]), feed.predict(raw))


def test_float32_is_written_with_the_digits_it_has(post, feed):
    found = post({"inputs": columns(RAW)})["outputs"]["click"]
    expected = feed.serve_columns(RAW)["click"].numpy()
    assert [np.float32(value) for value in found] == expected.tolist()
    assert all(len(repr(value)) <= 12 for value in found)


def examples():
    return [
        {"city": "Rome", "code": 3, "tags": ["x", "y"], "hours-per-week": 12.5},
        {"city": {"b64": base64.b64encode(b"Lima").decode()}, "tags": ["z"]},
    ]


def as_raw():
    return {
        "city": np.array(["Rome", "Lima"]),
        "code": np.array([3, -1]),
        "tags": np.array([["x", "y"], ["z", ""]]),
        "hours-per-week": np.array([12.5, np.nan], np.float32),
    }


def test_classify_gives_labels_and_scores(post, feed):
    predicted = feed.predict(as_raw())
    found = post({"examples": examples()}, "classify")["results"]
    assert [[label for label, _ in row] for row in found] == [["click", "like"]] * 2
    np.testing.assert_allclose(
        [row[1][1] for row in found], predicted["like"], rtol=1e-6
    )


def test_regress_gives_values(post, feed):
    raw = as_raw() | {"city": np.array(["Oslo", "Oslo"])}
    without = [{k: v for k, v in e.items() if k != "city"} for e in examples()]
    body = {"examples": without, "context": {"city": "Oslo"}}
    found = post(body | {"signature_name": "dwell time"}, "regress")["results"]
    np.testing.assert_allclose(found, feed.predict(raw)["dwell time"], rtol=1e-6)


def test_status_and_metadata(rest):
    available = {
        "version": "1",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    for path in ("/v1/models/feed", "/v1/models/feed/versions/1"):
        assert rest("GET", path) == (200, {"model_version_status": [available]})
    status, answer = rest("GET", "/v1/models/feed/metadata")
    assert status == 200
    assert answer["model_spec"] == {
        "name": "feed",
        "signature_name": "",
        "version": "1",
    }
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "serve_examples"}
    (examples_input,) = signatures["serve_examples"]["inputs"].values()
    assert examples_input["dtype"] == "DT_STRING"
    assert examples_input["tensor_shape"]["dim"] == [{"name": "", "size": "-1"}]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models/food", 404),
        ("/v1/models/feed/versions/2", 404),
        ("/v1/models/feed/versions/99999999999999999999999", 400),
        ("/v1/models/feed/labels/stable", 400),
        ("/v1/models/feed/labels/stable/metadata", 400),
        ("/v1/models/feed/other", 400),
        ("/v1/other", 404),
    ],
)
def test_what_is_not_there_is_an_error(rest, path, status):
    found, answer = rest("GET", path)
    assert found == status
    assert list(answer) == ["error"]


GOOD = {"inputs": columns(RAW)}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("", 400, "must be JSON"),
        ('{"inputs": ', 400, "must be JSON"),
        (b"\xff\xfe\x00", 400, "must be JSON"),
        ("[" * 100_000, 400, "must be JSON"),
        ('{"inputs": ' + "9" * 5000 + "}", 400, "must be JSON"),
        ("[1]", 400, "JSON object"),
        ({}, 400, "either `instances` or `inputs`"),
        ({"inputs": 1, "instances": 2}, 400, "either `instances` or `inputs`"),
        ({"signature_name": 1, "inputs": 1}, 400, "must be a string"),
        ({"signature_name": "x", "inputs": 1}, 400, "not found"),
        ({"instances": []}, 400, "at least one row"),
        ({"instances": [{"city": "a"}, {}]}, 400, "the same names"),
        ({"instances": [1, 2]}, 400, "more than one"),
        ({"inputs": [1]}, 400, "more than one"),
        ({"inputs": {"city": ["a"]}}, 400, "Missing but required"),
        ({"instances": [rows(RAW)[0] | {"x": 1}]}, 400, "Sent extra: ['x']"),
    ],
)
def test_wrong_bodies_are_refused(error_of, body, status, message):
    found, error = error_of(body)
    assert found == status
    assert message in error


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("code", [1, 2, 3, 4.0], "type int64. Received: 4.0"),
        ("code", [1, 2, 3, True], "type int64. Received: True"),
        ("code", [1, 2, 3, 2**70], "too large"),
        ("code", ["1"] * 4, "type int64. Received: '1'"),
        ("code", [1, 2, 3, None], "type int64. Received: None"),
        ("hours-per-week", [[1], [2], [3], [4]], "shape"),
        ("tags", [["a"], ["b", "c"], [], []], "lists of the same length"),
        ("tags", [["a"], "b", ["c"], ["d"]], "lists of the same length"),
        ("city", ["a", "b", "c", 4], "must be a JSON string"),
        ("city", ["a", "b", "c", {"b64": "!"}], "must be base64"),
        ("city", ["a", "b", "c", {"b65": "YQ=="}], "must be a JSON string"),
        ("city", ["a", "b", "c", {"b64": "YQ="}], "must be base64"),
        ("city", ["a", "b", "c", {"b64": "YQ==", "x": 1}], "must be a JSON string"),
    ],
)
def test_wrong_values_are_refused(error_of, name, values, message):
    status, error = error_of({"inputs": GOOD["inputs"] | {name: values}})
    assert status == 400
    assert message in error


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"instances": []}, "must be a list"),
        ({"examples": {}}, "must be a list"),
        ({"examples": [1]}, "must be a JSON object"),
        ({"examples": []}, "Input is empty"),
        ({"examples": [{"code": 2**70}]}, "feature 'code'"),
        ({"examples": [{"code": [1, None]}]}, "must be a JSON string"),
        ({"examples": [{"code": [True, 0.5]}]}, "must be a JSON string"),
        ({"examples": [{"code": "three"}]}, "code"),
    ],
)
def test_wrong_examples_are_refused(error_of, body, message):
    status, error = error_of(body, "/v1/models/feed:classify")
    assert status == 400
    assert message in error


def test_what_tensorflow_serving_takes_is_taken(post, feed):
    raw = take([0, 1])
    predicted = feed.predict(raw)
    # Keys and columns that nobody asked for.
    body = {"inputs": columns(raw) | {"x": [1]}, "parameters": {"a": 1}}
    assert_predicted(post(body)["outputs"], predicted)
    # base64 without padding, and with white space.
    cities = [base64.b64encode(c.encode()).decode() for c in raw["city"]]
    for change in (lambda c: c.rstrip("="), lambda c: f" {c[:2]}\n{c[2:]} "):
        given = [{"b64": change(c)} for c in cities]
        body = {"inputs": columns(raw) | {"city": given}}
        assert_predicted(post(body)["outputs"], predicted)


def test_null_is_a_missing_number(post, feed):
    raw = take([0, 1]) | {"hours-per-week": np.array([12.5, np.nan], np.float32)}
    predicted = feed.predict(raw)
    given = columns(raw) | {"hours-per-week": [12.5, None]}
    assert_predicted(post({"inputs": given})["outputs"], predicted)
    given = [
        row | {"hours-per-week": v}
        for row, v in zip(rows(raw), [12.5, None], strict=True)
    ]
    assert_predicted(by_column(post({"instances": given})["predictions"]), predicted)


def test_features_are_read_as_by_tensorflow_serving(post, feed):
    raw = as_raw() | {"code": np.array([1, -1])}
    given = examples()
    given[0]["code"] = True
    given[1]["code"] = given[1]["hours-per-week"] = []
    body = {"examples": given, "signature_name": "like", "x": 1}
    found = post(body, "regress")["results"]
    np.testing.assert_allclose(found, feed.predict(raw)["like"], rtol=1e-6)


def test_malformed_address_is_refused(error_of, rest):
    assert error_of({}, "/v1/models/feed:guess")[0] == 400
    assert error_of({}, "/v1/models/feed")[0] == 400
    assert error_of({}, "/v1/models/food:predict")[0] == 404
    assert rest("DELETE", "/v1/models/feed")[0] == 405


def test_large_body_is_refused(error_of, count_of):
    before = count_of("RESOURCE_EXHAUSTED"), count_of("OK")
    body = b'{"inputs": "' + b"x" * (33 * 2**20) + b'"}'
    assert error_of(body)[0] == 413
    after = count_of("RESOURCE_EXHAUSTED"), count_of("OK")
    assert after == (before[0] + 1, before[1])


def test_large_body_without_a_length_is_refused(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port)
    body = (b"x" * 2**20 for _ in range(33))
    connection.request("POST", "/v1/models/feed:predict", body, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


@pytest.fixture
def count_of(rest):
    """Function of a code to the number of requests that ended with it."""

    def count(code):
        _, text = rest("GET", "/metrics")
        assert 'tf_mtl_serving_available{model="feed",version="1"} 1.0' in text
        label = f'api="rest",code="{code}",method="predict"'
        line = next((x for x in text.splitlines() if label in x), "0")
        return float(line.split()[-1])

    return count


def test_metrics_count_requests_by_code(post, error_of, count_of):
    before = count_of("OK"), count_of("INVALID_ARGUMENT")
    post(GOOD)
    error_of("")
    after = count_of("OK"), count_of("INVALID_ARGUMENT")
    assert after == (before[0] + 1, before[1] + 1)


def test_body_does_not_wait_for_an_acknowledgement_of_the_head(post):
    seconds = []
    for _ in range(30):
        start = time.perf_counter()
        post(GOOD)
        seconds.append(time.perf_counter() - start)
    # Clients acknowledge after 40 ms what they need not answer.
    assert min(seconds) < 0.03


def test_health(rest):
    assert rest("GET", "/healthz")[0] == 200


def test_slow_and_broken_clients_do_not_disturb_others(server, post):
    head = b"POST /v1/models/feed:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n"
    address = ("127.0.0.1", server.rest_port)
    slow = [socket.create_connection(address) for _ in range(100)]
    for number, connection in enumerate(slow):
        connection.sendall((head + b"\r\n{")[: 40 + number])
    assert post(GOOD)["outputs"]
    for connection in slow:
        connection.close()
    assert post(GOOD)["outputs"]


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("predict", {"signature_name": "serve_examples", "instances": [""] * 65537}),
        ("classify", {"examples": [{}] * 65537}),
        ("regress", {"examples": [{}] * 65537}),
    ],
)
def test_more_rows_than_allowed_are_refused(error_of, verb, body):
    status, error = error_of(body, f"/v1/models/feed:{verb}")
    assert status == 400
    assert "at most 65536 rows. Received: 65537" in error
