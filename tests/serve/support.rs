//! Servers to ask, and a client that knows no more of HTTP than the tests need.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use brasa::datasets::{ColumnInfo, Fill, TableInfo};
use brasa::prelude::*;
use brasa::serve::{Listener, Options, Server};
use serde_json::Value as Json;

/// A server on a port of its own, which ends with the test.
pub struct Running {
    pub address: String,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    /// Serves with the options, on a thread of its own.
    pub fn with(options: Options, add: impl FnOnce(&Server)) -> Self {
        let server = Server::new(options).unwrap();
        add(&server);
        let (end, ended) = tokio::sync::oneshot::channel();
        let (told, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = Listener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.address()).unwrap();
                let ended = async move { drop(ended.await) };
                server.serve(vec![listener], None, ended).await.unwrap();
            });
            runtime.shutdown_background();
        });
        Self { address: address.recv().unwrap(), end: Some(end), thread: Some(thread) }
    }

    /// Serves all models of the tests.
    pub fn all() -> Self {
        Self::with(Options::default(), |server| {
            server.add("digits", 1, digits()).unwrap();
            server.add("both", 1, both()).unwrap();
            server.add("table", 1, table()).unwrap();
            server.add("words", 1, words()).unwrap();
            server.add("line", 1, line(1.0)).unwrap();
            server.add("line", 2, line(2.0)).unwrap();
        })
    }

    pub fn client(&self) -> Client {
        Client::to(&self.address)
    }

    /// One request on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.client().ask(method, path, headers, body)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.ask("POST", path, &[], body.as_ref())
    }

    /// A number among the counts.
    pub fn count(&self, line: &str) -> f64 {
        let text = String::from_utf8(self.get("/metrics").body).unwrap();
        let found = text.lines().find_map(|own| own.strip_prefix(line)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or(0.0)
    }

    /// Waits until a metric has a value: some change only after the answer has been sent, and the connection that
    /// asked for the one before may not be closed yet.
    pub fn counts(&self, line: &str, value: f64) {
        for _ in 0..2000 {
            if self.count(line) == value {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.count(line), value, "{line}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The body of what went well.
    pub fn good(&self) -> Json {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// The message of what did not.
    pub fn wrong(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.header("content-type"), Some("application/json"));
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

/// A connection.
pub struct Client {
    pub stream: BufReader<TcpStream>,
}

impl Client {
    pub fn to(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send(method, path, headers, body);
        self.answer().unwrap()
    }

    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend_from_slice(body);
        self.write(&bytes);
    }

    /// The next answer; none where the connection has ended.
    pub fn answer(&mut self) -> Option<Answer> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: usize = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some(Answer { status, headers, body })
    }
}

/// Images of digits; its weights are drawn from a seed.
pub fn digits() -> Model {
    let mut model = Sequential::new().with_seed(7);
    model.add(Flatten::new().input_shape((28, 28, 1))).unwrap();
    model.add(Dense::new(10).activation("softmax")).unwrap();
    model.data_info_mut().class_names = (0..10).map(|digit| format!("digit {digit}")).collect();
    model.into()
}

/// Two inputs of two numbers: their sum and their product.
pub fn both() -> Model {
    let (a, b) = (Input::new(2).name("a").symbol(), Input::new(2).name("b").symbol());
    let sum = Add::new().name("sum").call([&a, &b]).unwrap();
    let product = Multiply::new().name("product").call([&a, &b]).unwrap();
    Model::new([&a, &b], [&sum, &product]).unwrap()
}

/// A table of a number, which may be missing, and a text of three: their inputs one by one.
pub fn table() -> Model {
    let mut model = Sequential::new();
    model.add(Rescaling::new(1.0).input_shape(4)).unwrap();
    let mut age = ColumnInfo::default();
    (age.name, age.fill) = ("age".into(), Some(Fill::Number(30.0)));
    let mut city = ColumnInfo::default();
    city.name = "city".into();
    city.categories = Some(["Bonn", "Köln", "Mainz"].map(str::to_owned).to_vec());
    let mut info = TableInfo::default();
    (info.columns, info.targets, info.header, info.separator) = (vec![age, city], vec!["price".into()], true, ',');
    model.data_info_mut().table = Some(info);
    model.into()
}

/// Words by their numbers.
pub fn words() -> Model {
    let mut model = Sequential::new();
    model.add(Input::new(1).dtype("string")).unwrap();
    model.add(StringLookup::default().vocabulary(["red", "green"])).unwrap();
    model.add(Rescaling::new(1.0)).unwrap();
    model.into()
}

/// Numbers of any count, times another.
pub fn line(times: f32) -> Model {
    let mut model = Sequential::new();
    model.add(Rescaling::new(times).input_shape(3)).unwrap();
    model.into()
}

/// A grey image as PNG.
pub fn png(side: u32, of: impl Fn(u32, u32) -> u8) -> Vec<u8> {
    let image = image::GrayImage::from_fn(side, side, |x, y| image::Luma([of(x, y)]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Numbers of JSON, however deep in lists.
pub fn flat(json: &Json) -> Vec<f32> {
    match json {
        Json::Array(list) => list.iter().flat_map(flat).collect(),
        one => vec![one.as_f64().unwrap() as f32],
    }
}

/// Waits until something is so.
pub fn until(what: impl Fn() -> bool) {
    for _ in 0..2000 {
        if what() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it has not come to that");
}
