//! The requests that TensorFlow Serving's documentation shows.

use base64::Engine;
use serde_json::json;

use crate::support::*;

#[test]
fn status_and_metadata() {
    let server = Running::all();
    let status = server.get("/v1/models/line").good();
    let states: Vec<_> = status["model_version_status"].as_array().unwrap().iter().collect();
    assert_eq!(states.len(), 2);
    assert_eq!((&states[0]["version"], &states[0]["state"]), (&json!("2"), &json!("AVAILABLE")));
    assert_eq!(states[0]["status"], json!({ "error_code": "OK", "error_message": "" }));
    let one = server.get("/v1/models/line/versions/1").good();
    assert_eq!(one["model_version_status"].as_array().unwrap().len(), 1);

    let metadata = server.get("/v1/models/both/metadata").good();
    assert_eq!(metadata["model_spec"], json!({ "name": "both", "signature_name": "", "version": "1" }));
    let signature = &metadata["metadata"]["signature_def"]["signature_def"]["serving_default"];
    assert_eq!(signature["method_name"], "tensorflow/serving/predict");
    assert_eq!(signature["inputs"]["a"]["dtype"], "DT_FLOAT");
    let sizes = json!([{ "size": "-1", "name": "" }, { "size": "2", "name": "" }]);
    assert_eq!(signature["outputs"]["product"]["tensor_shape"]["dim"], sizes);
}

#[test]
fn rows_and_columns() {
    let server = Running::all();
    let rows = server.post("/v1/models/line:predict", r#"{"instances": [[1, 2, 3], [4, 5, 6.5]]}"#).good();
    // The newest version is asked, which doubles.
    assert_eq!(rows.to_string(), r#"{"predictions":[[2.0,4.0,6.0],[8.0,10.0,13.0]]}"#);
    let first = server.post("/v1/models/line/versions/1:predict", r#"{"instances": [[1, 2, 3]]}"#).good();
    assert_eq!(first, json!({ "predictions": [[1.0, 2.0, 3.0]] }));
    let body = r#"{"signature_name": "serving_default", "inputs": [[1, 2, 3]]}"#;
    assert_eq!(server.post("/v1/models/line:predict", body).good(), json!({ "outputs": [[2.0, 4.0, 6.0]] }));
    let body = r#"{"inputs": {"rescaling_input": [[1, 2, 3]]}}"#;
    let wrong = server.post("/v1/models/line:predict", body).wrong(400);
    assert!(wrong.contains("unknown input `rescaling_input`; valid: `input"), "{wrong}");
}

#[test]
fn several_inputs_and_outputs() {
    let server = Running::all();
    let body = r#"{"instances": [{"a": [1, 2], "b": [3, 4]}, {"b": [7, 8], "a": [5, 6]}]}"#;
    let rows = server.post("/v1/models/both:predict", body).good();
    let wanted = json!([
        { "sum": [4.0, 6.0], "product": [3.0, 8.0] },
        { "sum": [12.0, 14.0], "product": [35.0, 48.0] },
    ]);
    assert_eq!(rows["predictions"], wanted);
    let columns = server.post("/v1/models/both:predict", r#"{"inputs": {"a": [[1, 2]], "b": [[3, 4]]}}"#).good();
    assert_eq!(columns["outputs"], json!({ "sum": [[4.0, 6.0]], "product": [[3.0, 8.0]] }));
    for (body, message) in [
        (r#"{"instances": [[1, 2]]}"#, "expected an object with the inputs `a`, `b`"),
        (r#"{"instances": [{"a": [1, 2]}]}"#, "expected a value for input `b`, received none"),
        (r#"{"instances": [{"a": [1, 2], "a": [1, 2], "b": [1, 2]}]}"#, "input `a` once, received it twice"),
        (r#"{"inputs": {"a": [[1, 2]], "b": [[3, 4], [5, 6]]}}"#, "expected 1 samples, as of input `a`, received 2"),
    ] {
        let wrong = server.post("/v1/models/both:predict", body).wrong(400);
        assert!(wrong.contains(message), "{wrong}");
    }
}

#[test]
fn images_and_texts_in_base64() {
    let server = Running::all();
    let bytes = png(28, |x, y| (x * 9) as u8 ^ (y as u8));
    let b64 = base64::engine::general_purpose::STANDARD.encode(&bytes);
    let numbers = brasa::datasets::decode_image(&bytes, (28, 28, 1)).unwrap();
    let x = brasa::datasets::Samples::new([1, 28, 28, 1], numbers).unwrap();
    let wanted: Vec<f32> = digits().predict(x).unwrap().into_iter().collect();
    for body in [
        json!({ "instances": [{ "b64": b64 }] }),
        json!({ "instances": [{ "input_layer": { "b64": b64 } }] }),
        json!({ "inputs": [{ "b64": b64 }] }),
    ] {
        let answer = server.post("/v1/models/digits:predict", body.to_string()).good();
        let got = flat(answer.get("predictions").or(answer.get("outputs")).unwrap());
        assert!(got.len() == 10 && got.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?} {wanted:?}");
    }
    let words =
        server.post("/v1/models/words:predict", r#"{"instances": [["green"], [{"b64": "cmVk"}], ["blue"]]}"#).good();
    assert_eq!(words, json!({ "predictions": [[2.0], [1.0], [0.0]] }));
    for (model, body) in
        [("line", r#"{"instances": [{"b64": "cmVk"}]}"#), ("digits", r#"{"instances": [{"b64": "!"}]}"#)]
    {
        server.post(&format!("/v1/models/{model}:predict"), body).wrong(400);
    }
}

#[test]
fn what_is_wrong_is_named() {
    let server = Running::all();
    for (body, message) in [
        ("", "expected JSON"),
        ("{", "expected JSON"),
        ("[]", "an object with `instances` or `inputs`"),
        ("{}", "expected `instances` or `inputs`, received neither"),
        (r#"{"instances": [[1, 2, 3]], "more": 1}"#, "unknown key `more`"),
        (r#"{"instances": [[1, 2, 3]], "inputs": [[1, 2, 3]]}"#, "received a second"),
        (r#"{"instances": [[1, 2, 3]]} 5"#, "trailing"),
        (r#"{"instances": []}"#, "expected 1 to 1024 samples, received 0"),
        (r#"{"instances": [[1, 2]]}"#, "input `input_layer`: expected shape (None, 3), received (1, 2)"),
        (r#"{"instances": [[1, 2, 3], [1, 2]]}"#, "expected lists of 3 at depth 1, as the first, received one of 2"),
        (r#"{"instances": [[1, 2, [3]]]}"#, "expected values at depth 2"),
        (r#"{"instances": [[1, 2, "3"]]}"#, "expected numbers of shape (None, 3), received the text"),
        (r#"{"instances": [[1, 2, null]]}"#, "received null"),
        (r#"{"instances": [[1, 2, true]]}"#, "received true"),
        (r#"{"instances": [[1, 2, 1e39]]}"#, "expected finite numbers of 32 bits"),
        (r#"{"instances": [[1, 2, 1e999]]}"#, "out of range"),
        (r#"{"instances": [[1, 2, NaN]]}"#, "expected JSON"),
        (r#"{"instances": [[[[[[[[[[1]]]]]]]]]]}"#, "dimensions"),
        (r#"{"signature_name": "other", "instances": [[1, 2, 3]]}"#, "expected `serving_default`"),
    ] {
        let wrong = server.post("/v1/models/line:predict", body).wrong(400);
        assert!(wrong.contains(message), "{body}: {wrong}");
    }
    assert!(server.get("/v1/models/none").wrong(404).contains("both, digits, line, table, words"));
    assert!(server.get("/v1/models/line/versions/9").wrong(404).contains("there are 1, 2"));
    server.post("/v1/models/line:classify", "{}").wrong(404);
    server.post("/v1/models/line/more:predict", "{}").wrong(404);
    let method = server.get("/v1/models/line:predict");
    method.wrong(405);
    assert_eq!(method.header("allow"), Some("POST"));
    server.post("/v1/models/line", "{}").wrong(405);
}
