//! What programs read of the server: counts and the document of the interface.

use crate::support::*;

#[test]
fn the_document_names_every_address_and_resolves_its_references() {
    let server = Running::all();
    let document = server.get("/openapi.json").good();
    assert_eq!(document["openapi"], "3.1.0");
    // Its paths are beside the document, wherever that is.
    assert_eq!(document["servers"][0]["url"], ".");
    let paths = document["paths"].as_object().unwrap();
    for path in
        ["/predict/{name}", "/v1/models/{name}:predict", "/v2/models/{name}/versions/{version}/infer", "/metrics"]
    {
        assert!(paths.contains_key(path), "{path}");
    }
    let text = document.to_string();
    for (at, _) in text.match_indices("\"#/") {
        let reference = text[at + 2..].split('"').next().unwrap();
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    let names = &paths["/predict/{name}"]["post"]["parameters"][0]["schema"]["enum"];
    assert_eq!(names, &serde_json::json!(["both", "digits", "line", "table", "words"]));
    // Reading is answered at every address of the document.
    for (path, operations) in paths {
        if operations.get("get").is_some() {
            let path = path.replace("{name}", "line").replace("{version}", "1");
            assert_eq!(server.get(&path).status, 200, "{path}");
        }
    }
}

#[test]
fn requests_are_counted_by_route_model_and_status() {
    let server = Running::all();
    let mut client = server.client();
    client.ask("POST", "/predict/line", &[], b"[1, 2, 3]").good();
    client.ask("POST", "/predict/line", &[], b"[1, 2, 3]").good();
    client.ask("POST", "/predict/line", &[], b"[1, 2]").wrong(400);
    client.ask("POST", "/predict/made-up-7", &[], b"[1, 2]").wrong(404);
    client.ask("GET", "/made/up/8", &[], b"").wrong(404);
    server.counts(r#"brasa_requests_total{route="/predict",model="line",status="200"}"#, 2.0);
    server.counts(r#"brasa_requests_total{route="/predict",model="line",status="400"}"#, 1.0);
    server.counts(r#"brasa_requests_total{route="other",model="",status="404"}"#, 1.0);
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    assert!(!text.contains("made-up"), "names of clients are no labels");
    for phase in ["queue", "compute", "encode", "total"] {
        server.counts(&format!("brasa_request_seconds_count{{phase=\"{phase}\"}}"), 2.0);
    }
    assert!(server.count("process_resident_memory_bytes") > 1e6 || !cfg!(target_os = "linux"));
}
