//! The Open Inference Protocol: JSON, and binary tensors.

use serde_json::json;

use crate::support::*;

const LENGTH: &str = "Inference-Header-Content-Length";

fn line_request(more: &str) -> String {
    format!(
        r#"{{"inputs": [{{"name": "input_layer", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]{more}}}]}}"#
    )
}

#[test]
fn server_health_and_models() {
    let server = Running::all();
    let about = server.get("/v2").good();
    assert_eq!((&about["name"], &about["extensions"]), (&json!("brasa"), &json!(["binary_tensor_data"])));
    assert_eq!(server.get("/v2/health/live").good(), json!({ "live": true }));
    assert_eq!(server.get("/v2/health/ready").good(), json!({ "ready": true }));
    assert_eq!(server.get("/v2/models/line/ready").good(), json!({ "name": "line", "ready": true }));
    let model = server.get("/v2/models/line/versions/1").good();
    assert_eq!((&model["versions"], &model["platform"]), (&json!(["1", "2"]), &json!("brasa")));
    assert_eq!(model["inputs"], json!([{ "name": "input_layer", "datatype": "FP32", "shape": [-1, 3] }]));
    let words = server.get("/v2/models/words").good();
    assert_eq!(words["inputs"][0]["datatype"], "BYTES");
    server.get("/v2/models/none/ready").wrong(404);
}

#[test]
fn json_there_and_back() {
    let server = Running::all();
    let body = json!({
        "id": "a1",
        "inputs": [
            { "name": "b", "shape": [2, 2], "datatype": "FP64", "data": [[3, 4], [7, 8]] },
            { "name": "a", "shape": [2, 2], "datatype": "INT8", "data": [1, 2, 5, 6] },
        ],
        "outputs": [{ "name": "product" }],
    });
    let answer = server.post("/v2/models/both/infer", body.to_string()).good();
    let wanted = json!({
        "model_name": "both", "model_version": "1", "id": "a1",
        "outputs": [{ "name": "product", "datatype": "FP32", "shape": [2, 2], "data": [3.0, 8.0, 35.0, 48.0] }],
    });
    assert_eq!(answer, wanted);
    let all = server.post("/v2/models/line/versions/1/infer", line_request("")).good();
    assert_eq!(all["outputs"][0]["data"], json!([1.0, 2.0, 3.0]));
}

#[test]
fn binary_there_and_back() {
    let server = Running::all();
    let header = json!({
        "inputs": [
            { "name": "a", "shape": [1, 2], "datatype": "FP32", "parameters": { "binary_data_size": 8 } },
            { "name": "b", "shape": [1, 2], "datatype": "INT16", "parameters": { "binary_data_size": 4 } },
        ],
        "outputs": [
            { "name": "product", "parameters": { "binary_data": true } },
            { "name": "sum", "parameters": { "binary_data": false } },
        ],
    })
    .to_string();
    let mut body = header.clone().into_bytes();
    [1.5f32, -2.0].iter().for_each(|value| body.extend(value.to_le_bytes()));
    [3i16, -4].iter().for_each(|value| body.extend(value.to_le_bytes()));
    let length = header.len().to_string();
    let answer = server.ask("POST", "/v2/models/both/infer", &[(LENGTH, &length)], &body);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/octet-stream")));
    let length: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
    let head: serde_json::Value = serde_json::from_slice(&answer.body[..length]).unwrap();
    assert_eq!(head["outputs"][0]["parameters"], json!({ "binary_data_size": 8 }));
    assert_eq!(head["outputs"][1]["data"], json!([4.5, -6.0]));
    let values: Vec<f32> = answer.body[length..].chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(values, [4.5, 8.0]);
}

#[test]
fn every_datatype_comes_in_binary() {
    let server = Running::all();
    let f16 = |value: f32| half::f16::from_f32(value).to_le_bytes().to_vec();
    let bf16 = |value: f32| half::bf16::from_f32(value).to_le_bytes().to_vec();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("BOOL", vec![1, 0, 1]),
        ("UINT8", vec![1, 0, 1]),
        ("INT8", vec![1, 0, 1]),
        ("UINT16", [1u16, 0, 1].iter().flat_map(|v| v.to_le_bytes()).collect()),
        ("INT16", [1i16, 0, 1].iter().flat_map(|v| v.to_le_bytes()).collect()),
        ("UINT32", [1u32, 0, 1].iter().flat_map(|v| v.to_le_bytes()).collect()),
        ("INT32", [1i32, 0, 1].iter().flat_map(|v| v.to_le_bytes()).collect()),
        ("UINT64", [1u64, 0, 1].iter().flat_map(|v| v.to_le_bytes()).collect()),
        ("INT64", [1i64, 0, 1].iter().flat_map(|v| v.to_le_bytes()).collect()),
        ("FP16", [1.0, 0.0, 1.0].into_iter().flat_map(f16).collect()),
        ("BF16", [1.0, 0.0, 1.0].into_iter().flat_map(bf16).collect()),
        ("FP32", [1f32, 0.0, 1.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
        ("FP64", [1f64, 0.0, 1.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
    ];
    for (datatype, bytes) in cases {
        let size = bytes.len();
        let header = json!({ "inputs": [{
            "name": "input_layer", "shape": [1, 3], "datatype": datatype, "parameters": { "binary_data_size": size },
        }] })
        .to_string();
        let body = [header.as_bytes(), &bytes].concat();
        let answer = server.ask("POST", "/v2/models/line/infer", &[(LENGTH, &header.len().to_string())], &body).good();
        assert_eq!(answer["outputs"][0]["data"], json!([2.0, 0.0, 2.0]), "{datatype}");
    }
}

#[test]
fn texts_and_images_as_bytes() {
    let server = Running::all();
    let texts =
        json!({ "inputs": [{ "name": "input_layer", "shape": [2, 1], "datatype": "BYTES", "data": ["red", "?"] }] });
    let answer = server.post("/v2/models/words/infer", texts.to_string()).good();
    assert_eq!(answer["outputs"][0]["data"], json!([1.0, 0.0]));
    let image = png(28, |x, _| (x * 9) as u8);
    let mut body = u32::try_from(image.len()).unwrap().to_le_bytes().to_vec();
    body.extend(&image);
    let header = json!({
        "parameters": { "binary_data_output": true },
        "inputs": [{ "name": "input_layer", "shape": [1], "datatype": "BYTES", "parameters": { "binary_data_size": body.len() } }],
    })
    .to_string();
    let body = [header.as_bytes(), &body].concat();
    let answer = server.ask("POST", "/v2/models/digits/infer", &[(LENGTH, &header.len().to_string())], &body);
    let length: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
    assert_eq!((answer.status, answer.body.len() - length), (200, 40));
}

#[test]
fn what_is_wrong_is_named() {
    let server = Running::all();
    let input = |fields: &str| format!(r#"{{"inputs": [{{{fields}}}]}}"#);
    for (body, message) in [
        ("", "expected JSON"),
        ("{}", "missing field `inputs`"),
        (r#"{"inputs": []}"#, "input `input_layer`: expected values, received none"),
        (&input(r#""name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]"#), "unknown input `x`"),
        (
            &input(r#""name": "input_layer", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]"#),
            "expected shape (None, 3), received (1, 4)",
        ),
        (
            &input(r#""name": "input_layer", "shape": [1, 3], "datatype": "FP32", "data": [1, 2]"#),
            "expected 3 values for shape (1, 3), received 2",
        ),
        (&input(r#""name": "input_layer", "shape": [1, 3], "datatype": "FP8", "data": [1, 2, 3]"#), "received `FP8`"),
        (
            &input(r#""name": "input_layer", "shape": [1, 3], "datatype": "INT8", "data": [1, 2, 300]"#),
            "expected values of datatype INT8, received 300",
        ),
        (&input(r#""name": "input_layer", "shape": [1, 3], "datatype": "INT32", "data": [1, 2, 0.5]"#), "received 0.5"),
        (
            &input(r#""name": "input_layer", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 1e300]"#),
            "expected finite numbers",
        ),
        (&input(r#""name": "input_layer", "shape": [1, 3], "datatype": "BYTES", "data": ["a", "b", "c"]"#), "expected"),
        (
            &input(r#""name": "input_layer", "shape": [1, 3], "datatype": "FP32""#),
            "expected `data` or `binary_data_size`, received neither",
        ),
        (
            &input(r#""name": "input_layer", "shape": [18446744073709551615, 3], "datatype": "FP32", "data": []"#),
            "expected",
        ),
        (&input(r#""name": "input_layer", "shape": [1, 3], "datatype": "FP32", "data": {}"#), "data"),
        (&input(r#""name": "input_layer", "shape": [-1, 3], "datatype": "FP32", "data": []"#), "invalid value"),
        (&line_request(r#", "parameters": {"shared_memory_region": "x"}"#), "parameter `shared_memory_region`"),
        (&line_request(r#", "parameters": {"binary_data_size": 12}"#), "received both"),
    ] {
        let wrong = server.post("/v2/models/line/infer", body).wrong(400);
        assert!(wrong.contains(message), "{body}: {wrong}");
    }
    let twice = r#"{"inputs": [{"name": "input_layer", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}], "outputs": [{"name": "no"}]}"#;
    assert!(server.post("/v2/models/line/infer", twice).wrong(400).contains("unknown output `no`"));
    let binary = r#"{"inputs": [{"name": "input_layer", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}]}"#;
    for (length, more, message) in [
        ("x".to_owned(), 12, "a number of bytes"),
        ("100000".to_owned(), 12, "the length of the body"),
        ("99999999999999999999999".to_owned(), 12, "a number of bytes"),
        (binary.len().to_string(), 11, "expected 12 bytes behind the JSON, received 11"),
        (binary.len().to_string(), 13, "no bytes behind those of the inputs, received 1 more"),
    ] {
        let body = [binary.as_bytes(), &vec![0; more]].concat();
        let wrong = server.ask("POST", "/v2/models/line/infer", &[(LENGTH, &length)], &body).wrong(400);
        assert!(wrong.contains(message), "{wrong}");
    }
    for (shape, data) in [
        ("[2, 3]", "[[1, 2, 3, 4], [5, 6]]"),
        ("[2, 3]", "[[1, 2], [3, 4], [5, 6]]"),
        ("[1, 3]", "[1, [2, 3]]"),
        ("[1, 3]", "[[1], [2], [3]]"),
    ] {
        let body = input(&format!(r#""name": "input_layer", "shape": {shape}, "datatype": "FP32", "data": {data}"#));
        let wrong = server.post("/v2/models/line/infer", body).wrong(400);
        assert!(wrong.contains("expected a list of values, or lists as shape"), "{wrong}");
    }
    let nan = [binary.as_bytes(), &[0, 0, 192, 127].repeat(3)].concat();
    let wrong = server.ask("POST", "/v2/models/line/infer", &[(LENGTH, &binary.len().to_string())], &nan).wrong(400);
    assert!(wrong.contains("expected finite numbers of 32 bits, received NaN"), "{wrong}");
}

#[test]
fn parameters_that_change_nothing_are_left() {
    let server = Running::all();
    let request = |request: &str, input: &str, output: &str| {
        let body = format!(
            r#"{{"parameters": {request}, "inputs": [{{"name": "input_layer", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3], "parameters": {input}}}], "outputs": [{{"name": "rescaling", "parameters": {output}}}]}}"#
        );
        server.post("/v2/models/line/infer", body)
    };
    let left = r#"{"priority": 1, "timeout": 1000, "sequence_id": 0, "sequence_start": false, "own": null}"#;
    let answer = request(left, r#"{"content_type": "np"}"#, r#"{"classification": 0, "content_type": "np"}"#).good();
    assert_eq!(answer["outputs"][0]["data"], json!([2.0, 4.0, 6.0]));
    for (of_request, of_input, of_output, message) in [
        (r#"{"sequence_id": 7}"#, "{}", "{}", "parameter `sequence_id`"),
        (r#"{"binary_data_output": "yes"}"#, "{}", "{}", "parameter `binary_data_output`"),
        ("{}", r#"{"shared_memory_region": "x"}"#, "{}", "parameter `shared_memory_region`"),
        ("{}", "{}", r#"{"classification": 3}"#, "parameter `classification`"),
        ("{}", "{}", r#"{"binary_data": 1}"#, "parameter `binary_data`"),
    ] {
        let wrong = request(of_request, of_input, of_output).wrong(400);
        assert!(wrong.contains(message), "{wrong}");
    }
}
