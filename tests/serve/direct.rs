//! `POST /predict/NAME`, and what describes the models.

use serde_json::json;

use crate::support::*;

const CSV: &[(&str, &str)] = &[("Content-Type", "text/csv")];

#[test]
fn an_image_is_a_class_with_a_name() {
    let server = Running::all();
    let bytes = png(40, |x, y| ((x + y) * 3) as u8);
    let numbers = brasa::datasets::decode_image(&bytes, (28, 28, 1)).unwrap();
    let x = brasa::datasets::Samples::new([1, 28, 28, 1], numbers).unwrap();
    let wanted: Vec<f32> = digits().predict(x).unwrap().into_iter().collect();
    let best = wanted.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    let answer = server.ask("POST", "/predict/digits", &[("Content-Type", "image/png")], &bytes).good();
    assert_eq!((&answer[0]["input"], answer[0]["classes"].as_array().unwrap().len()), (&json!("picture"), 3));
    let first = &answer[0]["classes"][0];
    assert_eq!((&first["class"], &first["name"]), (&json!(best), &json!(format!("digit {best}"))));
    assert!((first["probability"].as_f64().unwrap() as f32 - wanted[best]).abs() < 1e-6);
    let all = server.ask("POST", "/predict/digits/versions/1?top=10", &[], &bytes).good();
    let sum: f64 = all[0]["classes"].as_array().unwrap().iter().map(|one| one["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5 && all[0]["classes"].as_array().unwrap().len() == 10);
    assert!(server.post("/predict/digits?best=1", &bytes).wrong(400).contains("unknown parameter `best`"));
    assert!(server.post("/predict/digits", &bytes[..90]).wrong(400).contains("image"));
    assert!(server.post("/predict/digits", "").wrong(400).contains("expected an image"));
}

#[test]
fn rows_of_a_table() {
    let server = Running::all();
    let row = |answer: &serde_json::Value, row: usize| flat(&answer[row]["output"]);
    let answer = server.ask("POST", "/predict/table", CSV, "city,price,age\nKöln,9,31\nMainz,8,\n".as_bytes()).good();
    assert_eq!((row(&answer, 0), row(&answer, 1)), (vec![31.0, 0.0, 1.0, 0.0], vec![30.0, 0.0, 0.0, 1.0]));
    assert_eq!(answer[1]["input"], "line 3");
    // Without a header the columns are in the order of training, the target perhaps behind them.
    for body in ["31,Bonn", "31,Bonn,500", "31;Bonn"] {
        let answer = server.ask("POST", "/predict/table", CSV, body.as_bytes());
        match body.contains(';') {
            false => assert_eq!(row(&answer.good(), 0), [31.0, 1.0, 0.0, 0.0], "{body}"),
            true => assert!(answer.wrong(400).contains("2 fields (age, city)")),
        }
    }
    let rows = r#"[{"age": 1, "city": "Bonn"}, {"city": "Köln", "price": 3}, [2.5, "Mainz"]]"#;
    let answer = server.post("/predict/table", rows).good();
    assert_eq!([row(&answer, 0)[0], row(&answer, 1)[0], row(&answer, 2)[0]], [1.0, 30.0, 2.5]);
    for (body, message) in [
        (r#"{"age": 1, "city": "Rom"}"#, "row 1, column `city`: expected `Bonn`, `Köln`, `Mainz`, received `Rom`"),
        (r#"{"age": "old", "city": "Bonn"}"#, "column `age`: expected a finite number, received `old`"),
        (r#"{"age": 1, "town": "Bonn"}"#, "unknown column `town`"),
        (r#"[[1]]"#, "expected 2 values, received 1"),
        (r#"[{"age": 1, "city": ["Bonn"]}]"#, "expected numbers and texts"),
        ("city,age\n", "at least one row"),
        ("31,Bonn\n32\n", "line 2: expected 2 fields, as above, received 1"),
        ("inf,Bonn\n", "line 1, column `age`: expected a finite number"),
    ] {
        let wrong = server.post("/predict/table", body).wrong(400);
        assert!(wrong.contains(message), "{body}: {wrong}");
    }
}

#[test]
fn texts_and_numbers() {
    let server = Running::all();
    assert_eq!(server.post("/predict/words", "green").good(), json!([{ "input": "text", "output": [2.0] }]));
    let two = server.post("/predict/words", r#"[["red"], ["green"]]"#).good();
    assert_eq!((&two[0]["output"], &two[1]["output"]), (&json!([1.0]), &json!([2.0])));
    let quoted = server.ask("POST", "/predict/words", &[("Content-Type", "application/json")], br#""red""#);
    assert_eq!(quoted.good()[0]["output"], json!([1.0]));
    for body in ["[1, 2, 3]", "[[1, 2, 3]]", r#"{"input_layer": [1, 2, 3]}"#] {
        assert_eq!(server.post("/predict/line", body).good(), json!([{ "input": "row 1", "output": [2.0, 4.0, 6.0] }]));
    }
    let both = server.post("/predict/both", r#"{"a": [1, 2], "b": [3, 4]}"#).good();
    assert_eq!(both[0]["outputs"], json!({ "sum": [4.0, 6.0], "product": [3.0, 8.0] }));
    assert_eq!(server.ask("POST", "/predict/line", CSV, b"1,2,3\n4,5,6").good()[1]["output"], json!([8.0, 10.0, 12.0]));
    server.post("/predict/line", "hello").wrong(400);
    // A text is what its type says, whatever it begins with.
    for text in ["GIF87a is a kind of image", "BM\0\0\0\0\0\0\0\0"] {
        let answer = server.ask("POST", "/predict/words", &[("Content-Type", "text/plain")], text.as_bytes());
        assert_eq!(answer.good()[0]["output"], json!([0.0]));
    }
    for path in ["/v2/models/%ff", "/v1/models/%ff", "/models/%ff", "/predict/%ff", "/v2/health/%ff"] {
        assert!(server.get(path).wrong(400).starts_with("the address: "), "{path}");
    }
    server.post("/predict/words", [0xff, 0xfe]).wrong(400);
    server.get("/predict/line").wrong(405);
    server.post("/predict/none", "1").wrong(404);
    server.post("/predict/line/more", "1").wrong(404);
}

#[test]
fn what_there_is() {
    let server = Running::all();
    let models = server.get("/models").good();
    let names: Vec<&str> =
        models["models"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["both", "digits", "line", "line", "table", "words"]);
    let digits = server.get("/models/digits").good();
    assert_eq!((&digits["subject"], &digits["meaning"]), (&json!("picture"), &json!("classes")));
    assert_eq!(digits["parameters"], 7850);
    assert!(digits["summary"].as_str().unwrap().contains("Flatten"));
    assert_eq!(server.get("/models/table").good()["columns"][1]["categories"], json!(["Bonn", "Köln", "Mainz"]));
    let drawing = server.get("/models/digits/network.svg");
    assert_eq!((drawing.status, drawing.header("content-type")), (200, Some("image/svg+xml")));
    assert!(drawing.body.starts_with(b"<svg"));
    server.get("/nothing").wrong(404);
    assert_eq!(server.ask("DELETE", "/models", &[], b"").wrong(405), "expected the method GET, received DELETE");
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let server = Running::all();
    let mut text = String::new();
    for (path, kind) in [("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")] {
        let file = server.get(path);
        assert!(file.status == 200 && file.header("content-type").unwrap().starts_with(kind), "{path}");
        assert!(file.header("content-security-policy").unwrap().contains("default-src 'none'"));
        text += &String::from_utf8(file.body).unwrap();
    }
    let elsewhere = text.match_indices("http").filter(|(at, _)| !text[*at..].starts_with("http://www.w3.org/2000/svg"));
    assert_eq!(elsewhere.count(), 0);
}

#[test]
fn a_router_of_ones_own_has_it_below_a_path() {
    let served = brasa::serve::Server::new(brasa::serve::Options::default()).unwrap();
    served.add("line", 1, line(1.0)).unwrap();
    let app: axum::Router = axum::Router::new().nest("/ai", served.router());
    let app = app.nest("/also/there/", served.router());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let request = axum::http::Request::post("/ai/predict/line").body(axum::body::Body::from("[1, 2, 3]")).unwrap();
        let mut app = app.into_service();
        let answer = tower::Service::call(&mut app, request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = axum::body::to_bytes(answer.into_body(), 1000).await.unwrap();
        assert_eq!(&body[..], b"[{\"input\":\"row 1\",\"output\":[1.0,2.0,3.0]}]\n");
        // The page finds its parts, with a slash behind its path or without.
        for (path, base) in [("/ai", Some("<base href=\"ai/\">")), ("/also/there/", None)] {
            let request = axum::http::Request::get(path).body(axum::body::Body::empty()).unwrap();
            let answer = tower::Service::call(&mut app, request).await.unwrap();
            assert_eq!(answer.status(), 200);
            let body = axum::body::to_bytes(answer.into_body(), 100_000).await.unwrap();
            let page = std::str::from_utf8(&body).unwrap();
            let own = page.find("<base").map(|at| &page[at..][..page[at..].find('\n').unwrap()]);
            assert_eq!(own, base);
            assert!(page.find("<base").unwrap_or(0) < page.find("page.css").unwrap());
        }
    });
}
