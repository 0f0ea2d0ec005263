#![no_main]

#[allow(dead_code)]
#[path = "../readers.rs"]
mod readers;
#[path = "../target.rs"]
mod target;

target::target!(shards);
