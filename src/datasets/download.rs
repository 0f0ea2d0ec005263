//! Downloads of files, kept only if their digests match.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::digest::Digest;
use crate::error::{Error, Result};

/// An upper bound on the size of any of the files, compressed or not; receiving and decompressing stop there.
const MOST_BYTES: u64 = 64 << 20;

/// Downloads a file from the first mirror that has it into `folder`, and returns its path.
///
/// It is written under a temporary name and renamed once its digest is verified, so that an interrupted transfer leaves
/// nothing behind.
pub(super) fn download(mirrors: &[String], name: &str, digest: Digest, folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let path = folder.join(name);
    let mut reasons = Vec::new();
    for mirror in mirrors {
        let url = format!("{}/{name}", mirror.trim_end_matches('/'));
        let mut file = NamedTempFile::new_in(folder).map_err(Error::io("create a file in", folder))?;
        match receive(&url, file.as_file_mut()).and_then(|()| check(file.as_file_mut(), digest)) {
            Ok(()) => {
                file.persist(&path).map_err(|error| Error::io("write", &path)(error.error))?;
                return Ok(path);
            }
            Err(reason) => reasons.push(format!("{url}: {reason}")),
        }
    }
    Err(Error::io("download", name)(io::Error::other(reasons.join("; "))))
}

/// Copies the contents of `url` into `file`.
fn receive(url: &str, file: &mut File) -> io::Result<()> {
    let mut config = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_per_read(Some(Duration::from_secs(60)))
        .user_agent(concat!("brasa/", env!("CARGO_PKG_VERSION")));
    if url.starts_with("http://127.0.0.1:") {
        // A proxy would resolve this address to its own machine.
        config = config.proxy(None);
    }
    let mut response = config.build().new_agent().get(url).call().map_err(io::Error::other)?;
    let mut body = response.body_mut().with_config().limit(MOST_BYTES).reader();
    io::copy(&mut body, file)?;
    file.flush()?;
    file.sync_all()
}

/// Verifies the digest of `file`.
fn check(file: &mut File, digest: Digest) -> io::Result<()> {
    file.rewind()?;
    let mut reader = BufReader::new(file);
    let packed = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let (expected, received) = match digest {
        Digest::Unpacked(expected) if packed => (expected, sha256(&mut MultiGzDecoder::new(reader))?),
        Digest::Unpacked(expected) | Digest::Packed(expected) => (expected, sha256(&mut reader)?),
    };
    if received == expected {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("expected SHA-256 {expected}, received {received}")))
}

/// The SHA-256 of at most [`MOST_BYTES`] bytes, in hexadecimal.
fn sha256(reader: &mut dyn Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let (mut reader, mut buffer) = (reader.take(MOST_BYTES), vec![0; 1 << 16]);
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        io::BufRead,
        net::{TcpListener, TcpStream},
        sync::{Arc, Mutex},
        thread,
    };

    use super::*;
    use crate::datasets::{fashion_mnist, idx::tests::gzip, mnist::Mnist};

    /// The answer of the test server to a request for a file.
    #[derive(Clone)]
    enum Answer {
        Whole(Vec<u8>),
        /// It announces all bytes and hangs up after half of them.
        Half(Vec<u8>),
        /// It announces no length, sends half of the bytes, and hangs up.
        HalfWithoutLength(Vec<u8>),
    }

    /// A server on this machine, and the paths requested from it.
    struct Server {
        url: String,
        asked: Arc<Mutex<Vec<String>>>,
    }

    /// Serves these answers by path, and 404 otherwise, until the test ends.
    fn serve(answers: impl IntoIterator<Item = (String, Answer)>) -> Server {
        let answers: HashMap<_, _> = answers.into_iter().collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let paths = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let path = request(&stream);
                // Before the answer, so that the client finds it recorded.
                paths.lock().unwrap().push(path.clone());
                // A client that hangs up does not concern the server.
                let _ = answer(stream, answers.get(&path));
            }
        });
        Server { url, asked }
    }

    /// The requested path.
    fn request(stream: &TcpStream) -> String {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let first = lines.next().unwrap_or_default();
        lines.find(String::is_empty);
        first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned()
    }

    fn answer(mut stream: TcpStream, answer: Option<&Answer>) -> io::Result<()> {
        let (bytes, sent, with_length) = match answer {
            Some(Answer::Whole(bytes)) => (bytes, bytes.len(), true),
            Some(Answer::Half(bytes)) => (bytes, bytes.len() / 2, true),
            Some(Answer::HalfWithoutLength(bytes)) => (bytes, bytes.len() / 2, false),
            None => {
                return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        };
        let length = if with_length { format!("Content-Length: {}\r\n", bytes.len()) } else { String::new() };
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{length}Connection: close\r\n\r\n").as_bytes())?;
        stream.write_all(&bytes[..sent])
    }

    /// Some incompressible bytes and their SHA-256.
    fn sample() -> (Vec<u8>, &'static str) {
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let digest = sha256(&mut &bytes[..]).unwrap();
        (bytes, Box::leak(digest.into_boxed_str()))
    }

    fn names(folder: &Path) -> Vec<String> {
        folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn the_digest_is_sha_256() {
        let abc = sha256(&mut &b"abc"[..]).unwrap();
        assert_eq!(abc, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_file_is_kept_under_its_name_if_its_digest_is_right() {
        let (bytes, digest) = sample();
        let packed = gzip(&bytes);
        let packed_digest: &'static str = Box::leak(sha256(&mut &packed[..]).unwrap().into_boxed_str());
        for (sent, digest) in [
            (&packed, Digest::Unpacked(digest)),
            (&packed, Digest::Packed(packed_digest)),
            (&bytes, Digest::Unpacked(digest)),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let server = serve([("file.gz".into(), Answer::Whole(sent.clone()))]);
            let below = folder.path().join("a/b");
            let path = download(&[server.url], "file.gz", digest, &below).unwrap();
            assert_eq!((path.clone(), names(&below)), (below.join("file.gz"), vec!["file.gz".to_owned()]));
            assert_eq!(&std::fs::read(path).unwrap(), sent);
        }
    }

    #[test]
    fn a_wrong_file_leaves_nothing_behind() {
        let (bytes, digest) = sample();
        let packed = gzip(&bytes);
        let other = gzip(b"another file");
        for (answer, words) in [
            (Some(Answer::Whole(other)), "expected SHA-256"),
            (Some(Answer::Half(packed.clone())), ""),
            (Some(Answer::HalfWithoutLength(packed.clone())), ""),
            (Some(Answer::HalfWithoutLength(bytes)), "expected SHA-256"),
            (None, "404"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let server = serve(answer.map(|answer| ("file.gz".into(), answer)));
            let url = server.url.clone();
            let error = download(&[server.url], "file.gz", Digest::Unpacked(digest), folder.path()).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Error::Io { action: "download", .. }), "{text}");
            assert!(text.contains(&url) && text.contains(words), "{text}");
            assert!(names(folder.path()).is_empty(), "{text}");
        }
    }

    #[test]
    fn the_next_mirror_is_asked_when_one_fails() {
        let (bytes, digest) = sample();
        let broken = serve([("file".into(), Answer::Half(bytes.clone()))]);
        let good = serve([("file".into(), Answer::Whole(bytes))]);
        let folder = tempfile::tempdir().unwrap();
        // Nothing listens on a port that was just released.
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mirrors = [format!("http://{gone}"), broken.url, good.url];
        download(&mirrors, "file", Digest::Unpacked(digest), folder.path()).unwrap();
        assert_eq!(names(folder.path()), ["file"]);

        let error = download(&mirrors[..2], "file", Digest::Unpacked(digest), folder.path()).unwrap_err().to_string();
        assert!(mirrors[..2].iter().all(|mirror| error.contains(mirror)), "{error}");
        assert!(download(&[], "file", Digest::Unpacked(digest), folder.path()).is_err());
    }

    #[test]
    fn mnist_is_downloaded_once() {
        // The package's own files are served; the current directory has no `data/fashion_mnist` to be found before.
        let data = Path::new("data/mnist");
        let files = names(data).into_iter().filter(|name| name.ends_with("-ubyte.gz"));
        let files = files.map(|name| (name.clone(), Answer::Whole(std::fs::read(data.join(&name)).unwrap())));
        let server = serve(files);
        let cache = tempfile::tempdir().unwrap();

        let mnist = Mnist::digits().cache_dir(cache.path()).mirrors([&server.url]).search(false);
        for _ in 0..2 {
            let (train, test) = mnist.load().unwrap();
            assert_eq!((train.len(), test.len()), (60_000, 10_000));
        }
        assert_eq!(server.asked.lock().unwrap().len(), 4, "the second time nothing is downloaded");

        // One file is gone: it alone is fetched again.
        std::fs::remove_file(cache.path().join("mnist/t10k-labels-idx1-ubyte.gz")).unwrap();
        mnist.load().unwrap();
        assert_eq!(server.asked.lock().unwrap()[4..], ["t10k-labels-idx1-ubyte.gz"]);

        // The digits are not the clothes: their digests differ.
        let error = Mnist::fashion().cache_dir(cache.path()).mirrors([&server.url]).load().unwrap_err();
        assert!(error.to_string().contains("expected SHA-256"), "{error}");
        assert!(names(&cache.path().join("fashion_mnist")).is_empty());
        assert_eq!(fashion_mnist::CLASS_NAMES.len(), 10);
    }
}
