//! How a server begins, takes new models, and ends: the program itself.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use brasa::prelude::*;
use serde_json::json;

use crate::support::*;

/// `brasa serve`, which ends with the test.
struct Program {
    child: Mutex<Child>,
    /// More may be written to it than the first line.
    _stdout: BufReader<std::process::ChildStdout>,
    address: String,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_brasa")), arguments)
    }

    /// Starts it with a limit of open files: `-n` for one that cannot be raised, `-Sn` for one that can.
    fn with_open_files(limit: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_brasa")]);
        Self::run(command, arguments)
    }

    fn run(mut command: Command, arguments: &[&str]) -> Self {
        command.arg("serve").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let Some((_, address)) = line.trim().split_once("Listening on ") else {
            let mut text = String::new();
            child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            panic!("{line} {text}");
        };
        let address = address.trim_start_matches("http://").trim_start_matches("https://").to_owned();
        Self { child: Mutex::new(child), _stdout: stdout, address }
    }

    fn signal(&self, signal: i32) {
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(self.child.lock().unwrap().id().to_string())
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Whether it has not ended.
    fn runs(&self) -> bool {
        self.child.lock().unwrap().try_wait().unwrap().is_none()
    }

    /// Waits for the end: the exit code, and what was logged.
    fn end(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        let child = self.child.get_mut().unwrap();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (child.wait().unwrap().code(), text)
    }

    fn ask(&self, body: &str) -> serde_json::Value {
        Client::to(&self.address).ask("POST", "/predict/line", &[], body.as_bytes()).good()[0]["output"].clone()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

const TERM: i32 = 15;
const HUP: i32 = 1;
const INT: i32 = 2;

fn saved(folder: &Path, times: f32) -> String {
    let path = folder.join("line.keras");
    line(times).save(&path).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_new_file_takes_the_place_of_the_old_and_a_bad_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), 1.0);
    let program = Program::start(&[&path, "--listen", "127.0.0.1:0", "--watch", "0.05"]);
    assert_eq!(program.ask("[1, 2, 3]"), json!([1.0, 2.0, 3.0]));
    saved(folder.path(), 2.0);
    until(|| program.ask("[1, 2, 3]") == json!([2.0, 4.0, 6.0]));
    // Half a file, and then nothing at all: the old model goes on.
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let refused = || {
        let text = Client::to(&program.address).ask("GET", "/metrics", &[], b"").body;
        String::from_utf8(text).unwrap().contains("brasa_reloads_total{model=\"line\",result=\"refused\"} 1")
    };
    until(refused);
    assert_eq!(program.ask("[1, 2, 3]"), json!([2.0, 4.0, 6.0]));
    std::fs::remove_file(&path).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(program.ask("[1, 2, 3]"), json!([2.0, 4.0, 6.0]));
    saved(folder.path(), 3.0);
    until(|| program.ask("[1, 2, 3]") == json!([3.0, 6.0, 9.0]));
    program.signal(TERM);
    let (code, log) = program.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("`line` is served as before"), "{log}");
}

#[test]
fn a_model_of_texts_that_has_no_answer_for_nothing_is_replaced_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/text/text_classifier.keras");
    let path = folder.path().join("reviews.keras");
    std::fs::copy(fixture, &path).unwrap();
    let program = Program::start(&[path.to_str().unwrap(), "--listen", "127.0.0.1:0", "--watch", "0"]);
    program.signal(HUP);
    let counts = || String::from_utf8(Client::to(&program.address).ask("GET", "/metrics", &[], b"").body).unwrap();
    until(|| counts().contains("brasa_reloads_total{"));
    assert!(counts().contains("brasa_reloads_total{model=\"reviews\",result=\"switched\"} 1"));
    program.signal(TERM);
    let (_, log) = program.end();
    // The subject of the test: the mean of no words.
    assert!(log.contains("numbers that are not finite"), "{log}");
}

#[test]
fn a_signal_loads_the_models_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), 1.0);
    let program = Program::start(&["--model", &format!("line={path}"), "--listen", "127.0.0.1:0", "--watch", "0"]);
    saved(folder.path(), 2.0);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(program.ask("[1, 2, 3]"), json!([1.0, 2.0, 3.0]));
    program.signal(HUP);
    until(|| program.ask("[1, 2, 3]") == json!([2.0, 4.0, 6.0]));
    program.signal(INT);
    assert_eq!(program.end().0, Some(0));
}

#[test]
fn no_request_is_lost_when_the_server_ends_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), 1.0);
    let program = Program::start(&[&path, "--listen", "127.0.0.1:0", "--quiet", "--max-delay-ms", "20"]);
    let (answered, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            let (program, answered, ended) = (&program, &answered, &ended);
            scope.spawn(move || {
                if !ended.load(Ordering::Relaxed) {
                    // Connections that are refused are no requests; those that are taken are answered.
                    let Ok(stream) = std::net::TcpStream::connect(&program.address) else { return };
                    let mut client = Client { stream: BufReader::new(stream) };
                    loop {
                        client.send("POST", "/predict/line", &[], b"[1, 2, 3]");
                        let answer = client.answer().expect("an answer to a request that was sent");
                        assert_eq!(answer.good()[0]["output"], json!([1.0, 2.0, 3.0]));
                        answered.fetch_add(1, Ordering::Relaxed);
                        if answer.header("connection") == Some("close") {
                            return;
                        }
                    }
                }
            });
        }
        until(|| answered.load(Ordering::Relaxed) > 100);
        program.signal(TERM);
        ended.store(true, Ordering::Relaxed);
    });
    let (code, log) = program.end();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn connections_that_go_on_coming_do_not_put_off_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), 1.0);
    let program = Program::start(&[&path, "--listen", "127.0.0.1:0", "--quiet", "--drain-timeout", "2"]);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    drop(std::net::TcpStream::connect(&program.address));
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
        until(|| Client::to(&program.address).ask("GET", "/v2", &[], b"").status == 200);
        program.signal(TERM);
        until(|| !program.runs());
        ended.store(true, Ordering::Relaxed);
    });
    assert_eq!(program.end().0, Some(0));
}

#[test]
fn the_end_comes_when_all_connections_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), 1.0);
    let options = ["--quiet", "--max-connections", "1", "--client-timeout", "600", "--drain-timeout", "600"];
    let listen = ["--listen", "127.0.0.1:0"];
    let program = Program::start(&[&[path.as_str()][..], &listen, &options].concat());
    let mut idle = Client::to(&program.address);
    idle.ask("GET", "/v2", &[], b"").good();
    // Another waits for its place, with a request.
    let mut waits = Client::to(&program.address);
    waits.send("POST", "/predict/line", &[], b"[1, 2, 3]");
    program.signal(TERM);
    assert_eq!(
        waits.answer().expect("an answer to a request that was sent").good()[0]["output"],
        json!([1.0, 2.0, 3.0])
    );
    until(|| !program.runs());
    assert_eq!(program.end().0, Some(0));
}

#[test]
fn a_listener_that_nobody_asks_keeps_no_connection_from_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), 1.0);
    let socket = format!("unix:{}", folder.path().join("socket").display());
    let listen = ["--listen", "127.0.0.1:0", "--listen", &socket];
    let program = Program::start(&[&[path.as_str(), "--quiet", "--max-connections", "1"][..], &listen].concat());
    for _ in 0..3 {
        assert_eq!(program.ask("[1, 2, 3]"), json!([1.0, 2.0, 3.0]));
    }
    program.signal(TERM);
    assert_eq!(program.end().0, Some(0));
}

#[test]
fn more_connections_than_open_files_to_begin_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), 1.0);
    let options = [path.as_str(), "--listen", "127.0.0.1:0", "--quiet"];
    // The limit is raised where that is allowed: many idle connections keep nobody waiting.
    let program = Program::with_open_files("-Sn 100", &options);
    let idle: Vec<Client> = (0..300).map(|_| Client::to(&program.address)).collect();
    assert_eq!(program.ask("[1, 2, 3]"), json!([1.0, 2.0, 3.0]));
    drop(idle);
    program.signal(TERM);
    let (code, log) = program.end();
    assert_eq!((code, log.as_str()), (Some(0), ""));
    // Where it is not, fewer connections are taken, and a file is left for a new model.
    let program = Program::with_open_files("-n 150", &[&options[..], &["--client-timeout", "2"]].concat());
    let idle: Vec<Client> = (0..100).map(|_| Client::to(&program.address)).collect();
    saved(folder.path(), 2.0);
    program.signal(HUP);
    // Those who are idle make place.
    until(|| program.ask("[1, 2, 3]") == json!([2.0, 4.0, 6.0]));
    drop(idle);
    program.signal(TERM);
    let (code, log) = program.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("up to 75 connections at once") && !log.contains("could not be taken"), "{log}");
}

#[test]
fn requests_that_would_each_fill_the_memory_are_refused_or_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.keras");
    let mut model = Sequential::new();
    model.add(Input::new((None, None, 1)).name("x")).unwrap();
    model.add(UpSampling2D::new(16)).unwrap().add(GlobalMaxPooling2D::new()).unwrap();
    model.save(&path).unwrap();
    let options = ["--listen", "127.0.0.1:0", "--quiet", "--workers", "4", "--timeout", "600"];
    let limit = ["--memory-limit", "100MB"];
    let program = Program::start(&[&[path.to_str().unwrap()][..], &options, &limit].concat());
    let ask = |side: usize| {
        let head = json!({ "inputs": [{ "name": "x", "shape": [1, side, side, 1], "datatype": "UINT8",
            "parameters": { "binary_data_size": side * side } }] });
        let head = head.to_string();
        let body = [head.as_bytes(), &vec![7; side * side]].concat();
        let length = [("Inference-Header-Content-Length", &*head.len().to_string())];
        Client::to(&program.address).ask("POST", "/v2/models/wide/infer", &length, &body)
    };
    // 82 MB each: one at a time has room, and none is refused.
    std::thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(|| assert_eq!(ask(200).good()["outputs"][0]["data"], json!([7.0])))));
    });
    // More than the limit, from several at once.
    std::thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(|| assert!(ask(300).wrong(413).contains("the memory limit")))));
    });
    ask(200).good();
    program.signal(TERM);
    let (code, log) = program.end();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn requests_without_an_answer_are_logged() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), 1.0);
    let options = ["--listen", "127.0.0.1:0", "--workers", "1", "--max-delay-ms", "60000"];
    let program = Program::start(&[&[path.as_str()][..], &options].concat());
    let mut client = Client::to(&program.address);
    client.send("POST", "/predict/line", &[("X-Request-Id", "gone-1")], b"[1, 2, 3]");
    let counts = || String::from_utf8(Client::to(&program.address).ask("GET", "/metrics", &[], b"").body).unwrap();
    until(|| counts().contains("brasa_queue_requests 1"));
    drop(client);
    until(|| counts().contains(r#"model="line",status="499"} 1"#));
    program.signal(TERM);
    let (_, log) = program.end();
    let line = log.lines().find(|line| line.contains("gone-1")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["status"], &line["model"], &line["samples"]), (&json!(499), &json!("line"), &json!(1)));
}

#[test]
fn a_file_that_changes_while_it_is_loaded_is_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), 1.0);
    let new = folder.path().join("new.keras");
    line(2.0).save(&new).unwrap();
    let options = brasa::serve::Options { watch: Duration::from_millis(50), ..brasa::serve::Options::default() };
    let server = Running::with(options, |server| {
        let load = move |path: &Path| {
            let model = brasa::Model::load(path)?;
            // Somebody saves another one meanwhile, once.
            let _ = std::fs::rename(&new, path);
            Ok(model)
        };
        server.add_file("line", 1, path, load).unwrap();
    });
    until(|| server.post("/predict/line", "[1, 2, 3]").good()[0]["output"] == json!([2.0, 4.0, 6.0]));
}

#[test]
fn a_model_that_panics_changes_nothing() {
    let options = brasa::serve::Options { watch: Duration::ZERO, ..brasa::serve::Options::default() };
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a.keras"), folder.path().join("b.keras"));
    line(1.0).save(&first).unwrap();
    line(1.0).save(&second).unwrap();
    let (loads, others) = (std::sync::Arc::new(AtomicUsize::new(0)), std::sync::Arc::new(AtomicUsize::new(0)));
    let (own_loads, own_others) = (loads.clone(), others.clone());
    let mut handle = None;
    let server = Running::with(options, |server| {
        let load = move |path: &Path| match own_loads.fetch_add(1, Ordering::SeqCst) {
            0 => brasa::Model::load(path),
            _ => Ok(panics()),
        };
        server.add_file("a", 1, first, load).unwrap();
        let load = move |path: &Path| {
            own_others.fetch_add(1, Ordering::SeqCst);
            brasa::Model::load(path)
        };
        server.add_file("b", 1, second, load).unwrap();
        handle = Some(server.clone());
    });
    handle.unwrap().reload();
    assert_eq!((loads.load(Ordering::SeqCst), others.load(Ordering::SeqCst)), (2, 2));
    server.counts(r#"brasa_reloads_total{model="a",result="refused"}"#, 1.0);
    server.counts(r#"brasa_reloads_total{model="b",result="switched"}"#, 1.0);
    server.post("/predict/a", "[1, 2, 3]").good();
}

brasa::describe! {
    /// Panics when it computes.
    pub layer struct Panics {}
}

impl brasa::layers::Layer for Panics {
    fn forward(&self, _: brasa::Value, _: &mut brasa::layers::Call<'_>) -> brasa::Result<brasa::Value> {
        panic!("as it was asked to")
    }
}

fn panics() -> brasa::Model {
    let mut model = Sequential::new();
    model.add(Rescaling::new(1.0).input_shape(3)).unwrap();
    model.add(Panics::default()).unwrap();
    model.into()
}

#[test]
fn requests_are_logged_with_their_ids() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), 1.0);
    let program = Program::start(&[&path, "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(&program.address);
    client.ask("POST", "/predict/line?top=2", &[("X-Request-Id", "mine")], b"[[1, 2, 3], [4, 5, 6]]").good();
    drop(client);
    program.signal(TERM);
    let (_, log) = program.end();
    let line = log.lines().find(|line| line.contains("\"mine\"")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(
        (&line["method"], &line["path"], &line["status"]),
        (&json!("POST"), &json!("/predict/line"), &json!(200))
    );
    assert_eq!((&line["model"], &line["version"], &line["samples"]), (&json!("line"), &json!(1), &json!(2)));
    assert!(line["milliseconds"].as_f64().unwrap() > 0.0 && line["time"].is_string());
}

#[test]
fn a_socket_of_unix_and_a_key_from_a_file() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), 1.0);
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "# of the front end\nabcdefghijklmnop\n").unwrap();
    let socket = folder.path().join("socket");
    let listen = format!("unix:{}", socket.display());
    let program = Program::start(&[&path, "--listen", &listen, "--api-key-file", keys.to_str().unwrap()]);
    assert_eq!(program.address, listen);
    let ask = |key: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        write!(stream, "GET /models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(ask("abcdefghijklmnop").starts_with("HTTP/1.1 200"));
    assert!(ask("abcdefghijklmnoq").starts_with("HTTP/1.1 401"));
    program.signal(TERM);
    assert_eq!(program.end().0, Some(0));
    assert!(!socket.exists());
}

#[test]
fn wrong_usage_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), 1.0);
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_brasa")).arg("serve").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (path, outside, directory) = (path.as_str(), format!("a/b={path}"), folder.path().to_str().unwrap());
    for (arguments, message) in [
        (vec!["--model", "line"], "NAME=FILE"),
        (vec!["--model", &outside], "letters, digits"),
        (vec![path, path], "`line` version 1 twice"),
        (vec![path, "--listen", "nowhere"], "cannot listen at `nowhere`"),
        (vec![directory], "without a model.keras"),
        (vec![path, "--max-request-memory", "1MB"], "max_bytes_at_once"),
    ] {
        let (code, text) = run(&arguments);
        assert!(code == Some(1) && text.contains(message), "{arguments:?}: {text}");
    }
    assert_eq!(run(&[]).0, Some(2));
    assert_eq!(run(&[path, "--tls-cert", "x"]).0, Some(2));
}

#[test]
fn an_address_that_others_reach_is_said_aloud() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), 1.0);
    let program = Program::start(&[&path, "--listen", "0.0.0.0:0"]);
    program.signal(TERM);
    assert!(program.end().1.contains("anybody who reaches this address"));
}

#[cfg(feature = "download")]
#[test]
fn over_tls() {
    use ureq::tls::{Certificate, RootCerts, TlsConfig};
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), 1.0);
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/serve");
    let (cert, key) = (here.join("cert.pem"), here.join("key.pem"));
    let patient = ["--client-timeout", "600", "--drain-timeout", "600"];
    let files = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let program = Program::start(&[&[path.as_str(), "--listen", "127.0.0.1:0"], &patient[..], &files].concat());
    let pem = std::fs::read(&cert).unwrap();
    let roots = RootCerts::new_with_certs(&[Certificate::from_pem(&pem).unwrap()]);
    let agent =
        ureq::Agent::config_builder().tls_config(TlsConfig::builder().root_certs(roots).build()).build().new_agent();
    let url = format!("https://{}/predict/line", program.address);
    let answer = agent.post(&url).send("[1, 2, 3]").unwrap().body_mut().read_to_string().unwrap();
    assert_eq!(answer.trim(), r#"[{"input":"row 1","output":[1.0,2.0,3.0]}]"#);
    // A handshake that does not go on is no reason not to end.
    let _silent = Client::to(&program.address);
    // Without TLS there is no answer, and no harm.
    let mut plain = Client::to(&program.address);
    plain.send("GET", "/v2", &[], b"");
    assert!(plain.answer().is_none());
    program.signal(TERM);
    until(|| !program.runs());
    assert_eq!(program.end().0, Some(0));
}
