#![no_main]

#[allow(dead_code)] // Each target uses some of the readers.
#[path = "../readers.rs"]
mod readers;
#[path = "../target.rs"]
mod target;

target::target!(shards);
