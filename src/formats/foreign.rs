//! Detection of files that are mistaken for models: their actual format, and what to do.

use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};
use crate::formats::regular::open_file;
use crate::text::printable;

/// The number of leading bytes that identify a file.
const START: u64 = 512;

/// Rejects a file of a known foreign format, naming that format.
///
/// # Errors
/// [`Error::Unsupported`] for a known format; [`Error::Io`] if the file cannot be read. Everything else is left to the
/// file's reader.
pub(crate) fn check(path: &Path) -> Result<()> {
    if path.is_dir() {
        let has = |name: &str| path.join(name).exists();
        let kind = match () {
            () if has("saved_model.pb") => "a folder in TensorFlow's SavedModel format",
            () if has("config.json") && has("model.weights.h5") => "a `.keras` archive that was unpacked into a folder",
            () => "a folder",
        };
        return Err(refusal(path, kind, "one file that Keras's `model.save` made (`.keras`, `.h5`)"));
    }
    let mut start = Vec::new();
    let (file, _) = open_file(path)?;
    file.take(START).read_to_end(&mut start).map_err(Error::io("read", path))?;
    check_start(path, &start)
}

/// As [`check`], for the bytes of a file; `name` is what messages call it.
///
/// # Errors
/// [`Error::Unsupported`] for a kind that is known.
pub(crate) fn check_bytes(name: &Path, bytes: &[u8]) -> Result<()> {
    check_start(name, &bytes[..bytes.len().min(START as usize)])
}

fn check_start(path: &Path, start: &[u8]) -> Result<()> {
    match kind_of(start) {
        Some((kind, instead)) => Err(refusal(path, kind, instead)),
        None => Ok(()),
    }
}

fn refusal(path: &Path, kind: &str, instead: &str) -> Error {
    Error::unsupported(format!("`{}`, which is {kind}", printable(&path.display().to_string())), instead)
}

/// The format of a file by its first bytes, and what to do instead; `None` if it can be a model.
fn kind_of(start: &[u8]) -> Option<(&'static str, &'static str)> {
    const BY_KERAS: &str = "a file that Keras's `model.save` made (`.keras`, `.h5`)";
    let begins = |with: &[u8]| start.starts_with(with);
    let text = || String::from_utf8_lossy(start).trim_start().to_lowercase();
    Some(match () {
        () if begins(b"version https://git-lfs") => {
            ("a Git LFS pointer, a few lines in the place of the file", "the file itself (`git lfs pull` fetches it)")
        }
        // The protocol version, then an opcode: a frame, a tuple, a class or a dictionary.
        () if begins(b"\x80") && matches!(start, [_, 2..=5, b'\x95' | b'}' | b']' | b'c' | b'(' | b'\x8c', ..]) => {
            ("a Python pickle, which is a program that makes an object", BY_KERAS)
        }
        () if begins(b"\x1f\x8b") => ("compressed with gzip", "the file that is inside"),
        () if start.get(4..8) == Some(b"TFL3") => ("a TensorFlow Lite model", BY_KERAS),
        () if is_onnx(start) => ("an ONNX model", BY_KERAS),
        () if begins(b"\x08\x01\x12") => ("the graph of a TensorFlow SavedModel", BY_KERAS),
        () if begins(b"\x93NUMPY") => ("a NumPy array", "a model; `.npy` holds data"),
        () if begins(b"\x00\x05\x16\x07") => {
            ("what macOS keeps beside a file (`._…`), not the file", "the file of the name without `._`")
        }
        () if text().starts_with("<!doctype html") || text().starts_with("<html") => {
            ("a page of HTML, as a download gives it that has failed", "the file itself")
        }
        () => return None,
    })
}

/// Whether a protocol buffers message begins like ONNX's: a format version above 2, then the name of the program that
/// wrote it (field 2) or another plausible field.
fn is_onnx(start: &[u8]) -> bool {
    let [0x08, 3..=32, 0x12, length, rest @ ..] = start else { return false };
    let name = rest.get(..usize::from(*length)).unwrap_or(rest);
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_recognised_by_their_first_bytes() {
        let kind = |start: &[u8]| kind_of(start).map(|(kind, _)| kind);
        let named = |start: &[u8], word: &str| assert!(kind(start).is_some_and(|kind| kind.contains(word)), "{word}");
        named(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "Git LFS");
        named(b"\x80\x04\x95\x10\x00", "pickle");
        named(b"\x80\x03csklearn.svm", "pickle");
        named(b"\x1f\x8b\x08\x00", "gzip");
        named(b"\x1c\x00\x00\x00TFL3\x14\x00", "Lite");
        named(b"\x08\x07\x12\x07pytorch\x1a\x032.0", "ONNX");
        named(b"\x08\x01\x12\xd4\x01\x0a", "SavedModel");
        named(b"\x93NUMPY\x01\x00", "NumPy");
        named(b"\x00\x05\x16\x07\x00\x02", "macOS");
        named(b"\n<!DOCTYPE html><html>", "HTML");
        for model in [
            &b"PK\x03\x04"[..],
            b"\x89HDF\r\n\x1a\n",
            b"{\"class_name\": 1}",
            b"\x08\x00\x00\x00\x00\x00\x00\x00{}",
            b"",
        ] {
            assert_eq!(kind(model), None, "{model:?}");
        }
    }
}
