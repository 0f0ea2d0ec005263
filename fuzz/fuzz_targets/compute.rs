#![no_main]

#[allow(dead_code)]
#[path = "../models.rs"]
mod models;

// The fuzzer's default hook ends the process at any panic: here each panic is a finding.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    models::compute(bytes);
});
