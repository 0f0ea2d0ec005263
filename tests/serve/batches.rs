//! Requests that are computed together.

use std::time::Duration;

use brasa::serve::Options;
use serde_json::json;

use crate::support::*;

#[test]
fn what_waits_is_computed_together_and_each_gets_its_own() {
    let options = Options { workers: 1, max_batch_size: 8, max_delay: Duration::from_secs(10), ..Options::default() };
    let server = Running::with(options, |server| server.add("both", 1, both()).unwrap());
    // A worker waits for company until a batch is full.
    std::thread::scope(|scope| {
        for index in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let body = json!({ "instances": [{ "a": [index, 1], "b": [2, 3] }] });
                let answer = server.post("/v1/models/both:predict", body.to_string()).good();
                let wanted =
                    json!([{ "sum": [f64::from(index) + 2.0, 4.0], "product": [f64::from(index) * 2.0, 3.0] }]);
                assert_eq!(answer["predictions"], wanted);
            });
        }
    });
    server.counts("brasa_batch_samples_count", 1.0);
    server.counts("brasa_batch_samples_sum", 8.0);
    server.counts(r#"brasa_request_seconds_count{phase="compute"}"#, 8.0);
}

#[test]
fn a_request_larger_than_a_batch_is_computed_in_parts() {
    let options = Options { max_batch_size: 3, ..Options::default() };
    let server = Running::with(options, |server| server.add("line", 1, line(2.0)).unwrap());
    let rows: Vec<_> = (0..10).map(|row| json!([row, 0, 1])).collect();
    let answer = server.post("/v1/models/line:predict", json!({ "instances": rows }).to_string()).good();
    let wanted: Vec<_> = (0..10).map(|row| json!([f64::from(row) * 2.0, 0.0, 2.0])).collect();
    assert_eq!(answer["predictions"], json!(wanted));
    server.counts("brasa_batch_samples_sum", 10.0);
    server.counts("brasa_batch_samples_count", 4.0);
}

/// Texts, as long as the longest of a batch, and the mean of their words.
fn reviews() -> brasa::Model {
    use brasa::prelude::*;
    let mut model = Sequential::new().with_seed(3);
    model.add(Input::new(1).dtype("string")).unwrap();
    model.add(TextVectorization::default().vocabulary(["good", "bad"])).unwrap();
    model.add(Embedding::new(4, 2)).unwrap();
    model.add(GlobalAveragePooling1D::new()).unwrap();
    model.into()
}

#[test]
fn texts_of_strangers_do_not_change_an_answer() {
    let options = Options { workers: 1, max_batch_size: 2, max_delay: Duration::from_secs(10), ..Options::default() };
    let server = Running::with(options, |server| server.add("reviews", 1, reviews()).unwrap());
    let ask = |text: &str| flat(&server.post("/predict/reviews", text).good()[0]["output"]);
    let alone = [ask("good bad"), ask(&"bad ".repeat(200))];
    for _ in 0..10 {
        std::thread::scope(|scope| {
            let short = scope.spawn(|| ask("good bad"));
            let long = scope.spawn(|| ask(&"bad ".repeat(200)));
            assert_eq!([short.join().unwrap(), long.join().unwrap()], alone);
        });
    }
    // All texts of one request are one batch, as in `predict`, even beyond the largest that others share.
    let body = json!([["good"], ["good bad"], ["bad bad bad"]]);
    let answer = server.post("/predict/reviews", body.to_string()).good();
    let x = brasa::datasets::Samples::texts([3, 1], ["good", "good bad", "bad bad bad"].map(str::to_owned).to_vec())
        .unwrap();
    let wanted = reviews().predict(x).unwrap();
    for row in 0..3 {
        assert_eq!(flat(&answer[row]["output"]), wanted.as_slice().unwrap()[row * 2..][..2]);
    }
}

#[test]
fn who_has_gone_is_not_computed() {
    let options = Options { workers: 1, max_batch_size: 6, max_delay: Duration::from_secs(60), ..Options::default() };
    let server = Running::with(options, |server| server.add("line", 1, line(1.0)).unwrap());
    let mut clients: Vec<Client> = (0..5).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.send("POST", "/predict/line", &[], b"[1, 2, 3]"));
    server.counts("brasa_queue_requests", 5.0);
    drop(clients);
    server.counts("brasa_queue_requests", 0.0);
    // What makes a batch full is computed alone.
    server.post("/predict/line", "[[4, 5, 6], [4, 5, 6], [4, 5, 6], [4, 5, 6], [4, 5, 6], [4, 5, 6]]").good();
    server.counts("brasa_skipped_total", 5.0);
    server.counts("brasa_batch_samples_sum", 6.0);
    // They are counted, as requests without an answer.
    server.counts(r#"brasa_requests_total{route="/predict",model="line",status="499"}"#, 5.0);
    server.counts("brasa_in_flight_requests", 0.0);
}

#[test]
fn one_that_fails_spoils_no_other() {
    use brasa::prelude::*;
    let options = Options { workers: 1, max_batch_size: 2, max_delay: Duration::from_secs(10), ..Options::default() };
    let server = Running::with(options, |server| {
        let mut model = Sequential::new();
        model.add(Input::new(2).dtype("int32")).unwrap();
        model.add(Embedding::new(4, 3)).unwrap();
        server.add("embedding", 1, model.into()).unwrap();
    });
    std::thread::scope(|scope| {
        let good = scope.spawn(|| server.post("/predict/embedding", "[0, 3]"));
        let wrong = scope.spawn(|| server.post("/predict/embedding", "[0, 4]"));
        good.join().unwrap().good();
        let message = wrong.join().unwrap().wrong(400);
        assert!(message.contains("embedding"), "{message}");
    });
}

#[test]
fn many_clients_at_once_get_what_each_alone_gets() {
    let server = Running::all();
    let image = |seed: u32| png(28, move |x, y| (x * seed + y * 3) as u8);
    let alone: Vec<_> = (0..16).map(|seed| server.post("/predict/digits?top=10", image(seed)).good()).collect();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (server, alone) = (&server, &alone);
            scope.spawn(move || {
                let mut client = server.client();
                for step in 0..40 {
                    let seed = (thread * 5 + step) % 16;
                    let answer = client.ask("POST", "/predict/digits?top=10", &[], &image(seed)).good();
                    let (own, alone) = (&answer[0]["classes"], &alone[seed as usize][0]["classes"]);
                    let share = |json: &serde_json::Value, class: u64| {
                        let list = json.as_array().unwrap();
                        list.iter().find(|one| one["class"] == class).unwrap()["probability"].as_f64().unwrap()
                    };
                    for class in 0..10 {
                        // To the last digit, whatever it was computed with.
                        assert_eq!(share(own, class), share(alone, class));
                    }
                }
            });
        }
    });
}
