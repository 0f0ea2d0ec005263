//! Times `TextVectorization`, for `benches/text/run.py`.
//!
//! `vectorize FILE TOKENS LENGTH`: learns a vocabulary from the lines of a file and maps all of them to indices; prints
//! the seconds of both and a sum of the indices as JSON. Without arguments it does nothing.

use std::process::ExitCode;
use std::time::Instant;

use brasa::prelude::*;
use brasa::training::Predict;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [file, tokens, length] = &arguments[..] else { return ExitCode::SUCCESS };
    match run(file, tokens.parse().ok(), length.parse().ok()) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(file: &str, tokens: Option<usize>, length: Option<usize>) -> brasa::Result<serde_json::Value> {
    brasa::backend::use_threads(None)?;
    let text = std::fs::read_to_string(file).map_err(brasa::Error::io("read", file))?;
    let lines: Vec<&str> = text.lines().collect();
    let mut layer = TextVectorization::default();
    (layer.max_tokens, layer.output_sequence_length) = (tokens, length);
    let begun = Instant::now();
    let layer = layer.adapt(lines.clone())?;
    let adapted = begun.elapsed().as_secs_f64();
    let mut model = Sequential::new();
    model.add(layer.input_shape(1))?;
    let begun = Instant::now();
    let indices = model.predict_with(lines, Predict::new().batch_size(1024))?;
    let transformed = begun.elapsed().as_secs_f64();
    let sum: f64 = indices.iter().map(|index| f64::from(*index)).sum();
    Ok(serde_json::json!({ "adapt": adapted, "transform": transformed, "sum": sum }))
}
