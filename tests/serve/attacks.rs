//! What somebody may do who wants a server to stand still, or to take more than it is allowed to.

use std::time::{Duration, Instant};

use brasa::prelude::*;
use brasa::serve::Options;
use serde_json::json;

use crate::support::*;

const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];

/// A black image as WebP, without loss: few bytes, whatever its sides.
fn plain_webp(side: u64) -> Vec<u8> {
    // The sides, opaque, version 0; no transforms, no cache, one group of codes, each of them of a single symbol.
    let codes = (0..5).fold(0u64, |bits, code| bits | (1 << (3 + 4 * code)));
    let sides = (side - 1) | ((side - 1) << 14);
    let bits = [&sides.to_le_bytes()[..4], &codes.to_le_bytes()[..], &[0; 9]].concat();
    let length = |count: usize| u32::try_from(count).unwrap().to_le_bytes();
    [b"RIFF", &length(4 + 8 + 22)[..], b"WEBPVP8L", &length(22), b"\x2f", &bits].concat()
}

#[test]
fn images_are_decoded_where_they_hold_up_nobody() {
    let server = Running::with(Options::default(), |server| server.add("digits", 1, digits()).unwrap());
    let bytes = plain_webp(1024);
    assert!(bytes.len() < 100, "{}", bytes.len());
    // As many as there are threads that accept and answer, and more.
    let mut asking: Vec<Client> = (0..6).map(|_| server.client()).collect();
    asking.iter_mut().for_each(|client| client.send("POST", "/predict/digits", &[], &bytes));
    // With one of them on each of those threads, health would be answered after the first of the images.
    let mut answered = 0;
    while server.count(r#"brasa_requests_total{route="/predict",model="digits",status="200"}"#) < 1.0 {
        answered += 1;
    }
    assert!(answered > 1);
    asking.iter_mut().for_each(|client| drop(client.answer().unwrap().good()));
}

#[test]
fn a_request_is_counted_until_it_is_answered_or_forgotten() {
    let options =
        Options { workers: 1, max_batch_size: 1024, max_delay: Duration::from_secs(60), ..Options::default() };
    let server = Running::with(options, |server| server.add("line", 1, line(1.0)).unwrap());
    let row = "[1, 2, 3]";
    let body = format!("[{}]", vec![row; 100].join(","));
    let mut client = server.client();
    client.send("POST", "/predict/line", &[], body.as_bytes());
    server.counts("brasa_queue_requests", 1.0);
    assert!(server.count("brasa_request_bytes") >= body.len() as f64);
    drop(client);
    // Nobody waits for it: the queue has forgotten it before a worker comes to it.
    server.counts("brasa_queue_requests", 0.0);
    server.counts("brasa_request_bytes", 0.0);
    server.counts("brasa_skipped_total", 1.0);
}

#[test]
fn who_tells_of_a_body_and_sends_none_holds_no_memory() {
    let options = Options { max_body_bytes: 1 << 20, max_bytes_at_once: 1 << 20, ..Options::default() };
    let server = Running::with(options, |server| server.add("line", 1, line(1.0)).unwrap());
    let idle: Vec<Client> = (0..8)
        .map(|_| {
            let mut client = server.client();
            client.write(b"POST /predict/line HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n");
            client
        })
        .collect();
    server.counts("brasa_in_flight_requests", 8.0);
    server.post("/predict/line", "[1, 2, 3]").good();
    drop(idle);
}

#[test]
fn an_answer_is_counted_until_it_is_sent() {
    let options = Options { client_timeout: Duration::from_secs(2), ..Options::default() };
    let server = Running::with(options, |server| {
        let mut model = Sequential::new();
        model.add(RepeatVector::new(200_000).input_shape(3)).unwrap();
        server.add("repeat", 1, model.into()).unwrap();
    });
    let body = json!({ "instances": vec![[0.123_456_78, 1.234_567_8, 2.345_678_9]; 4] }).to_string();
    let mut slow = server.client();
    slow.send("POST", "/v1/models/repeat:predict", &[], body.as_bytes());
    until(|| server.count(r#"brasa_requests_total{route="/v1",model="repeat",status="200"}"#) == 1.0);
    // The client reads nothing: most of it is still there.
    assert!(server.count("brasa_request_bytes") > 1e6);
    // And it does not stay for ever.
    server.counts("brasa_request_bytes", 0.0);
}

#[test]
fn what_never_fits_is_no_matter_of_trying_again() {
    let options = Options { max_body_bytes: 1 << 20, max_bytes_at_once: 1 << 20, ..Options::default() };
    let server = Running::with(options, |server| server.add("line", 1, line(1.0)).unwrap());
    server.post("/predict/line", format!("[1, 2, 3{}]", " ".repeat(125_000))).wrong(413);
}

#[test]
fn who_sends_too_much_still_gets_an_answer() {
    let server = Running::with(Options { max_body_bytes: 1 << 20, ..Options::default() }, |server| {
        server.add("line", 1, line(1.0)).unwrap();
    });
    // All of it is written before the answer is read.
    let body = vec![b' '; (1 << 20) + (1 << 21)];
    for _ in 0..5 {
        let answer = server.post("/predict/line", &body).wrong(413);
        assert!(answer.contains("received one of 3145728"), "{answer}");
    }
}

#[test]
fn rows_in_json_take_no_more_than_their_text() {
    let options = Options { max_body_bytes: 1 << 20, max_bytes_at_once: 1 << 20, ..Options::default() };
    let server = Running::with(options, |server| server.add("table", 1, table()).unwrap());
    // A tree of them would take forty times as much as the text, and more than all that there is.
    let rows = format!("[{}[1, \"Bonn\"]]", "[1,              \"Bonn\"],".repeat(999));
    assert_eq!(server.post("/predict/table", &rows).good().as_array().unwrap().len(), 1000);
    // The first row that is none ends it.
    let wrong = server.post("/predict/table", format!("[{}[0]]", "[0],".repeat(10_000))).wrong(400);
    assert_eq!(wrong, "row 1: expected 2 values, received 1");
    let wrong = server.post("/predict/table", format!("[[1, \"Bonn\"], [{}0]]", "0,".repeat(10_000))).wrong(400);
    assert_eq!(wrong, "row 2: expected 2 values, received more");
    for (body, message) in [
        (r#"[[1, "Bonn"], 3]"#, "row 2: expected an object of columns, or a list of values, received `3`"),
        (r#"[1, ["Bonn"]]"#, "row 1: expected numbers and texts, received a list or object"),
        ("3", "row 1: expected an object of columns"),
        ("[]", "the body: expected at least one row, received none"),
        (r#"[[1, "Bonn"], [2,"#, "the body: expected JSON"),
        (r#"[[1, "Bonn"]] 1"#, "the body: expected JSON"),
    ] {
        let wrong = server.ask("POST", "/predict/table", JSON, body.as_bytes()).wrong(400);
        assert!(wrong.contains(message), "{body}: {wrong}");
    }
    assert_eq!(flat(&server.post("/predict/table", r#"[31, "Bonn"]"#).good()[0]["output"]), [31.0, 1.0, 0.0, 0.0]);
    assert_eq!(flat(&server.post("/predict/table", r#"[[null, "Bonn"]]"#).good()[0]["output"]), [30.0, 1.0, 0.0, 0.0]);
}

#[test]
fn sizes_of_nothing_are_no_sizes() {
    let server = Running::with(Options::default(), |server| {
        let mut model = Sequential::new();
        model.add(Conv2D::new(2, 3).padding(Padding::Same).input_shape((None, None, 3))).unwrap();
        server.add("images", 1, model.into()).unwrap();
    });
    for shape in ["[1, 0, 5, 3]", "[1, 1000000000000, 0, 3]", "[0, 5, 5, 3]"] {
        let body =
            format!(r#"{{"inputs": [{{"name": "input_layer", "shape": {shape}, "datatype": "FP32", "data": []}}]}}"#);
        let wrong = server.post("/v2/models/images/infer", body).wrong(400);
        assert!(wrong.contains("input `input_layer`"), "{wrong}");
    }
    server.post("/v1/models/images:predict", r#"{"instances": [[[]]]}"#).wrong(400);
}

#[test]
fn a_client_that_takes_an_answer_slowly_gets_it() {
    use std::io::Read;
    let options = Options { client_timeout: Duration::from_secs(20), ..Options::default() };
    let server = Running::with(options, |server| {
        let mut model = Sequential::new();
        model.add(RepeatVector::new(100_000).input_shape(3)).unwrap();
        server.add("repeat", 1, model.into()).unwrap();
    });
    let mut client = server.client();
    client.send("POST", "/v1/models/repeat:predict", &[], br#"{"instances": [[1, 2, 3]]}"#);
    let begun = Instant::now();
    let mut first = [0; 100];
    client.stream.read_exact(&mut first).unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200"));
    let mut rest = Vec::new();
    while !rest.ends_with(b"]]]}") {
        let mut part = [0; 50_000];
        let count = client.stream.read(&mut part).unwrap();
        assert!(count > 0 && begun.elapsed() < Duration::from_secs(60));
        rest.extend_from_slice(&part[..count]);
    }
}
