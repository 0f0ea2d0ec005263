//! Requests that nobody would send: whatever they are, the answer says what is wrong, and the server goes on.

use base64::Engine;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::*;

/// A path, headers and a body.
type Seed = (&'static str, Vec<(&'static str, String)>, Vec<u8>);

/// Good requests to begin with.
fn seeds() -> Vec<Seed> {
    let binary = r#"{"inputs":[{"name":"a","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}},{"name":"b","shape":[1,2],"datatype":"INT16","parameters":{"binary_data_size":4}}],"outputs":[{"name":"sum","parameters":{"binary_data":true}}]}"#;
    let bytes = [binary.as_bytes(), &[0; 12]].concat();
    let texts =
        r#"{"inputs":[{"name":"input_layer","shape":[2,1],"datatype":"BYTES","parameters":{"binary_data_size":14}}]}"#;
    let words = [texts.as_bytes(), b"\x03\0\0\0red\x03\0\0\0abc"].concat();
    let image = base64::engine::general_purpose::STANDARD.encode(png(9, |x, y| (x * y) as u8));
    let image = format!(r#"{{"instances":[{{"b64":"{image}"}}]}}"#);
    vec![
        ("/v1/models/both:predict", vec![], br#"{"instances":[{"a":[1,2],"b":[3,4]},{"a":[5,6],"b":[7,8]}]}"#.to_vec()),
        (
            "/v1/models/both:predict",
            vec![],
            br#"{"signature_name":"serving_default","inputs":{"a":[[1,2]],"b":[[3,4]]}}"#.to_vec(),
        ),
        ("/v1/models/words:predict", vec![], br#"{"instances":[["red"],[{"b64":"cmVk"}]]}"#.to_vec()),
        ("/v1/models/digits:predict", vec![], image.into_bytes()),
        ("/v2/models/both/infer", vec![("Inference-Header-Content-Length", binary.len().to_string())], bytes),
        ("/v2/models/words/infer", vec![("Inference-Header-Content-Length", texts.len().to_string())], words),
        (
            "/v2/models/line/infer",
            vec![],
            br#"{"id":"1","inputs":[{"name":"input_layer","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}"#.to_vec(),
        ),
        ("/predict/table", vec![("Content-Type", "text/csv".into())], "age,city\n31,Bonn\n".as_bytes().to_vec()),
        ("/predict/table", vec![], br#"[{"age":1,"city":"Bonn"},[2,"Mainz"]]"#.to_vec()),
        ("/predict/digits", vec![("Content-Type", "image/png".into())], png(9, |x, y| (x ^ y) as u8)),
        ("/predict/line", vec![], b"[[1,2,3],[4,5,6]]".to_vec()),
    ]
}

/// Changes a body a little, or a lot.
fn damaged(body: &[u8], random: &mut StdRng) -> Vec<u8> {
    const PARTS: [&[u8]; 16] = [
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b"\"",
        b"1e999",
        b"-1",
        b"18446744073709551616",
        b"null",
        b"\\ud800",
        b"\xff",
        b"[[[[[[[[[[",
        b"\"b64\":",
        b"\0\0\0\x80",
        b"4294967295",
    ];
    let mut bytes = body.to_vec();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.truncate(at),
            3 => {
                let part = PARTS[random.random_range(0..PARTS.len())];
                bytes.splice(at..at, part.iter().copied());
            }
            4 => {
                let copy = bytes[at..].to_vec();
                bytes.extend(copy);
            }
            _ => bytes.insert(at, random.random()),
        }
    }
    bytes
}

#[test]
fn damaged_requests_are_answered() {
    let rounds = std::env::var("BRASA_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2000);
    let server = Running::all();
    let mut random = StdRng::seed_from_u64(20);
    let seeds = seeds();
    for (path, headers, body) in &seeds {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(server.ask("POST", path, &headers, body).status, 200, "{path}");
    }
    let mut client = server.client();
    let mut statuses = std::collections::BTreeMap::new();
    for _ in 0..rounds {
        let (path, headers, body) = &seeds[random.random_range(0..seeds.len())];
        let body = damaged(body, &mut random);
        let length = random.random_range(0..400u32).to_string();
        let mut headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if random.random_range(0..8) == 0 {
            headers.retain(|(name, _)| *name != "Inference-Header-Content-Length");
            headers.push(("Inference-Header-Content-Length", &length));
        }
        client.send("POST", path, &headers, &body);
        let Some(answer) = client.answer() else {
            client = server.client();
            continue;
        };
        *statuses.entry(answer.status).or_insert(0) += 1;
        assert!([200, 400, 413, 429].contains(&answer.status), "{path} {headers:?} {body:?}: {answer:?}");
        if answer.status != 200 {
            assert!(answer.json()["error"].is_string());
        }
    }
    assert!(statuses.len() > 1, "{statuses:?}");
    assert_eq!(server.post("/predict/line", "[1, 2, 3]").status, 200);
    server.counts("brasa_request_bytes", 0.0);
}

#[test]
fn what_is_no_http_is_no_harm() {
    use std::io::Write;
    let server = Running::all();
    let mut random = StdRng::seed_from_u64(21);
    for round in 0..200 {
        let mut client = server.client();
        let mut bytes: Vec<u8> = match round % 4 {
            0 => (0..random.random_range(0..300)).map(|_| random.random()).collect(),
            1 => b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n".to_vec(),
            2 => b"POST /predict/line HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"
                .to_vec(),
            _ => b"GET /v1/models/%00%ff%2f..%2f..:predict HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        };
        if round % 3 == 0 && !bytes.is_empty() {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        let _ = client.stream.get_mut().write_all(&bytes);
        let _ = client.stream.get_mut().shutdown(std::net::Shutdown::Write);
        if let Some(answer) = client.answer() {
            assert!(answer.status < 500, "{answer:?}");
        }
    }
    // A client that goes in the middle of its request, and one that takes no answer.
    for _ in 0..50 {
        let mut client = server.client();
        client.write(b"POST /predict/line HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n[1,");
        drop(client);
        let mut client = server.client();
        client.send("POST", "/predict/line", &[], b"[1, 2, 3]");
        drop(client);
    }
    assert_eq!(server.post("/predict/line", "[1, 2, 3]").status, 200);
}
