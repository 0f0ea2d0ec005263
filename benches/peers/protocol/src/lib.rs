//! The requests of `benches/peers/run.py`, as `peer.py` describes them, for peers in Rust.

use std::error::Error;
use std::io::BufRead;

use serde_json::{Value, json};

/// A result with any error, which ends the peer.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// A framework or runtime that is measured.
pub trait Peer {
    /// How the framework is used, a word.
    const WAY: &'static str;

    /// Prepares a task, `train` or `predict`, with a new model.
    fn prepare(&mut self, task: &str, batch_size: usize) -> Outcome<()>;

    /// The seconds that a number of steps take; all are finished at its end.
    fn steps(&mut self, count: usize) -> Outcome<f64>;
}

/// Answers the requests on standard input until it ends.
pub fn answer<P: Peer>(mut peer: P) -> Outcome<()> {
    let (mut steps, mut batch_size) = (1, 1);
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        if let Some(task) = request["prepare"].as_str() {
            batch_size = request["batch_size"].as_u64().ok_or("`prepare` without a batch_size")? as usize;
            let seconds = request["seconds"].as_f64().ok_or("`prepare` without seconds")?;
            peer.prepare(task, batch_size)?;
            peer.steps(1)?;
            println!("{}", json!({"first": true}));
            let mut count = 1;
            let took = loop {
                let took = peer.steps(count)?;
                if took >= seconds / 4.0 {
                    break took;
                }
                count *= 2;
            };
            steps = ((count as f64 * seconds / took).round() as usize).max(1);
            println!("{}", json!({"ready": true}));
        } else if request.get("measure").is_some() {
            // A short warm-up: the processor's caches hold another program's data.
            peer.steps(1)?;
            println!("{}", json!({P::WAY: (steps * batch_size) as f64 / peer.steps(steps)?}));
        } else {
            println!("{}", json!({"peak_rss_bytes": peak()}));
        }
    }
    Ok(())
}

/// The peak memory of this process; 0 where the system does not report it.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
