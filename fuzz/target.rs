//! The wrapper of every fuzz target.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::sync::Mutex;

use crate::readers::Reader;

/// The locations of the panics seen so far.
static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Replaces the fuzzer's default hook, which ends the process at any panic: panics of a parser that a reader catches
/// are not findings. Each is shown once, as it is still a defect of a dependency.
pub fn show_each_panic_once() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        if SEEN.lock().is_ok_and(|mut seen| seen.insert(place)) {
            eprintln!("{panic}");
        }
    }));
}

/// Reads the bytes; a panic that escapes the reader is a finding.
pub fn run(read: Reader, bytes: &[u8]) {
    if catch_unwind(|| read(bytes)).is_err() {
        eprintln!("a panic came out of the reader; one of:\n{:#?}", SEEN.lock().map(|seen| seen.clone()));
        std::process::abort();
    }
}

/// The fuzz target of a reader.
macro_rules! target {
    ($reader:ident) => {
        libfuzzer_sys::fuzz_target!(init: $crate::target::show_each_panic_once(), |bytes: &[u8]| {
            $crate::target::run($crate::readers::$reader, bytes)
        });
    };
}
pub(crate) use target;
