//! What requests may take, and what is said where they would take more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use brasa::serve::Options;

use crate::support::*;

fn with(options: Options) -> Running {
    Running::with(options, |server| server.add("line", 1, line(1.0)).unwrap())
}

#[test]
fn a_body_has_a_largest_size() {
    let server = with(Options { max_body_bytes: 1000, ..Options::default() });
    let large = vec![b' '; 1001];
    let answer = server.post("/v1/models/line:predict", &large).wrong(413);
    assert_eq!(answer, "expected a body of up to 1000 bytes, received one of 1001");
    // Told, and never sent: it is refused before it is waited for.
    let mut client = server.client();
    client.write(b"POST /predict/line HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999\r\n\r\n");
    client.answer().unwrap().wrong(413);
    let mut client = server.client();
    client.write(b"POST /predict/line HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    (0..11).for_each(|_| client.write(&[b"64\r\n", &[b' '; 100][..], b"\r\n"].concat()));
    client.answer().unwrap().wrong(413);
    let mut client = server.client();
    client.write(
        b"POST /predict/line HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n[1, 2, 3]\r\n0\r\n\r\n",
    );
    client.answer().unwrap().good();
}

#[test]
fn samples_have_a_largest_number() {
    let server = with(Options { max_inputs: 2, ..Options::default() });
    server.post("/predict/line", "[[1, 2, 3], [1, 2, 3]]").good();
    // The first size of a sample may be larger.
    server.post("/predict/line", "[1, 2, 3]").good();
    server.post("/predict/line", r#"{"input_layer": [1, 2, 3]}"#).good();
    let three = "[[1, 2, 3], [1, 2, 3], [1, 2, 3]]";
    for (path, body) in [
        ("/predict/line", three.to_owned()),
        ("/v1/models/line:predict", format!("{{\"instances\": {three}}}")),
        ("/v1/models/line:predict", format!("{{\"inputs\": {three}}}")),
        (
            "/v2/models/line/infer",
            format!(
                "{{\"inputs\": [{{\"name\": \"input_layer\", \"shape\": [3, 3], \"datatype\": \"FP32\", \"data\": {three}}}]}}"
            ),
        ),
    ] {
        assert!(server.post(path, body).wrong(400).contains("up to 2 samples"), "{path}");
    }
    assert!(
        server
            .ask("POST", "/predict/line", &[("Content-Type", "text/csv")], b"1,2,3\n1,2,3\n1,2,3")
            .wrong(400)
            .contains("up to 2 rows")
    );
}

#[test]
fn the_memory_of_all_requests_has_a_limit() {
    let options = Options { max_body_bytes: 1 << 20, max_bytes_at_once: 1 << 20, ..Options::default() };
    let server = with(options);
    // One that is sent slowly holds its room.
    let mut slow = server.client();
    slow.write(b"POST /predict/line HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n");
    slow.write(&[b' '; 1_000_000]);
    until(|| server.count("brasa_request_bytes") >= 1e6);
    let refused = server.post("/predict/line", "[1, 2, 3]");
    refused.wrong(429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(slow);
    server.counts("brasa_request_bytes", 0.0);
    server.post("/predict/line", "[1, 2, 3]").good();
    // What never fits is no matter of trying again.
    server.post("/predict/line", format!("[1, 2, 3{}]", " ".repeat(1 << 18))).wrong(413);
}

brasa::describe! {
    /// Counts how many calls compute at once.
    pub layer struct Counts {}
}

static AT_ONCE: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

impl brasa::layers::Layer for Counts {
    fn forward(&self, input: brasa::Value, _: &mut brasa::layers::Call<'_>) -> brasa::Result<brasa::Value> {
        let now = AT_ONCE[0].fetch_add(1, Ordering::SeqCst) + 1;
        AT_ONCE[1].fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        AT_ONCE[0].fetch_sub(1, Ordering::SeqCst);
        Ok(input)
    }
}

/// A model that makes much of little: 72 MB of a sample.
fn much() -> brasa::Model {
    use brasa::prelude::*;
    let mut model = Sequential::new();
    model.add(RepeatVector::new(6_000_000).input_shape(3)).unwrap();
    model.add(Counts::default()).unwrap();
    model.add(GlobalMaxPooling1D::new()).unwrap();
    model.into()
}

#[test]
fn what_takes_much_memory_is_computed_one_by_one() {
    let options = Options { workers: 4, max_batch_size: 1, ..Options::default() };
    let server = Running::with(options, |server| {
        server.add("much", 1, much()).unwrap();
        server.add("other", 1, much()).unwrap();
    });
    std::thread::scope(|scope| {
        for number in 0..6 {
            let server = &server;
            let path = if number % 2 == 0 { "/predict/much" } else { "/predict/other" };
            scope.spawn(move || {
                let answer = server.post(path, format!("[{number}, 2, 3]")).good();
                assert_eq!(flat(&answer[0]["output"]), [number as f32, 2.0, 3.0]);
            });
        }
    });
    assert_eq!(AT_ONCE[1].load(Ordering::SeqCst), 1);
}

#[test]
fn requests_at_once_have_a_largest_number() {
    let options = Options {
        max_requests: 1,
        workers: 1,
        max_batch_size: 2,
        max_delay: Duration::from_secs(60),
        timeout: Duration::from_secs(2),
        ..Options::default()
    };
    let server = with(options);
    // A body that does not come takes no place.
    let mut slow = server.client();
    slow.write(b"POST /predict/line HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n[1, 2");
    server.counts("brasa_in_flight_requests", 1.0);
    server.post("/predict/line", "[[1, 2, 3], [1, 2, 3]]").good();
    drop(slow);
    // One that waits for company has the only one.
    let mut waits = server.client();
    waits.send("POST", "/predict/line", &[], b"[1, 2, 3]");
    server.counts("brasa_queue_requests", 1.0);
    let refused = server.post("/predict/line", "[1, 2, 3]");
    assert!(refused.wrong(429).contains("1 requests are being served"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    // What is no prediction is answered all the same.
    server.get("/v2/health/ready").good();
    waits.answer().unwrap().wrong(504);
    server.counts("brasa_queue_requests", 0.0);
    server.post("/predict/line", "[[1, 2, 3], [1, 2, 3]]").good();
}

#[test]
fn slow_clients_are_not_waited_for() {
    let server = with(Options { client_timeout: Duration::from_millis(200), ..Options::default() });
    let mut body = server.client();
    body.write(b"POST /predict/line HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n[1, 2");
    assert!(body.answer().unwrap().wrong(408).contains("expected the body within 0.2 seconds"));
    // The time of a request that passes while its body is read is the client's, too.
    let hasty = with(Options { timeout: Duration::from_millis(200), ..Options::default() });
    let mut body = hasty.client();
    body.write(b"POST /predict/line HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n[1, 2");
    assert!(body.answer().unwrap().wrong(408).contains("expected the body within 0.2 seconds"));
    let begun = Instant::now();
    let mut head = server.client();
    head.write(b"POST /predict/line HTTP/1.1\r\nHost: a\r\nContent-");
    assert!(head.answer().is_none_or(|answer| answer.status == 408));
    let mut idle = server.client();
    idle.ask("GET", "/v2/health/live", &[], b"").good();
    assert!(idle.answer().is_none());
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn who_sends_no_more_has_gone() {
    use std::net::Shutdown;
    let options = Options { workers: 1, max_batch_size: 6, max_delay: Duration::from_secs(60), ..Options::default() };
    let server = with(options);
    // While it waits for an answer, and between two requests: neither holds anything.
    let mut waits = server.client();
    waits.send("POST", "/predict/line", &[], b"[1, 2, 3]");
    server.counts("brasa_queue_requests", 1.0);
    let mut idle = server.client();
    idle.ask("GET", "/v2", &[], b"").good();
    server.counts("brasa_connections", 3.0);
    for client in [&mut waits, &mut idle] {
        client.stream.get_mut().shutdown(Shutdown::Write).unwrap();
        assert!(client.answer().is_none());
    }
    server.counts("brasa_connections", 1.0);
    server.counts("brasa_queue_requests", 0.0);
    server.counts("brasa_skipped_total", 1.0);
}

#[test]
fn an_answer_has_a_time() {
    let options = Options {
        timeout: Duration::from_millis(50),
        max_delay: Duration::from_secs(5),
        workers: 1,
        ..Options::default()
    };
    let server = with(options);
    assert!(server.post("/predict/line", "[1, 2, 3]").wrong(504).contains("within 0.05 seconds"));
}

#[test]
fn who_has_no_key_gets_nothing() {
    let key = "a-key-of-some-length-1";
    let server = with(Options { api_keys: vec![key.into()], ..Options::default() });
    for path in ["/v2/health/live", "/v2/health/ready", "/", "/page.js", "/page.css"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    for path in ["/v2", "/models", "/metrics", "/openapi.json", "/v1/models/line", "/v2/models/line", "/nothing"] {
        let refused = server.get(path);
        refused.wrong(401);
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"), "{path}");
    }
    for wrong in ["Bearer a-key-of-some-length-2", "Bearer a-key", key, "Bearer", "Bearer a-key-of-some-length-1x"] {
        server.ask("POST", "/predict/line", &[("Authorization", wrong)], b"[1, 2, 3]").wrong(401);
    }
    server.ask("POST", "/predict/line", &[("Authorization", &format!("Bearer {key}"))], b"[1, 2, 3]").good();
    let short = Options { api_keys: vec!["short".into()], ..Options::default() };
    assert!(brasa::serve::Server::new(short).is_err());
}

#[test]
fn bodies_are_not_compressed_and_ids_come_back() {
    let server = with(Options::default());
    server.ask("POST", "/predict/line", &[("Content-Encoding", "gzip")], b"\x1f\x8b").wrong(415);
    let own = server.ask("GET", "/v2", &[("X-Request-Id", "abc-1")], b"");
    assert_eq!(own.header("x-request-id"), Some("abc-1"));
    let long = "x".repeat(101);
    for bad in [long.as_str(), "a b", ""] {
        let fresh = server.ask("GET", "/v2", &[("X-Request-Id", bad)], b"");
        assert_eq!(fresh.header("x-request-id").unwrap().len(), 16);
    }
    // A head without end is no reason to keep it.
    let mut client = server.client();
    let head = format!("GET /v2 HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(200_000));
    let _ = std::io::Write::write_all(client.stream.get_mut(), head.as_bytes());
    assert!(client.answer().is_none_or(|answer| answer.status == 431));
}
