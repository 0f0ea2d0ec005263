//! RTen as a peer of `benches/peers/run.py`: answers the requests that `peer.py` describes, for predictions.
//!
//! usage: rten-peer MODEL.ONNX SAMPLES.F32 (raw float32 samples of the model's input shape)

use std::error::Error;
use std::io::BufRead;
use std::time::Instant;

use rten::{Dimension, Model, ModelOptions};
use rten_tensor::TensorView;
use serde_json::{Value, json};

/// A loaded model, the samples, and the size of the batches.
struct Peer {
    model: Model,
    samples: Vec<f32>,
    /// The sizes of a sample.
    sizes: Vec<usize>,
    batch_size: usize,
    next: usize,
}

impl Peer {
    fn load(model: &str, samples: &str) -> Result<Self, Box<dyn Error>> {
        let model = ModelOptions::with_all_ops().prepack_weights(true).load_file(model)?;
        let input = *model.input_ids().first().ok_or("the model has no input")?;
        let shape = model.node_info(input).and_then(|info| info.shape()).ok_or("the input has no shape")?;
        let fixed = |size: &Dimension| match size {
            Dimension::Fixed(size) => Ok(*size),
            Dimension::Symbolic(name) => Err(format!("a sample's size is `{name}`")),
        };
        let sizes = shape[1..].iter().map(fixed).collect::<Result<Vec<_>, _>>()?;
        let bytes = std::fs::read(samples)?;
        let samples =
            bytes.chunks_exact(4).map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
        Ok(Self { model, samples, sizes, batch_size: 1, next: 0 })
    }

    /// The seconds that a number of predictions take.
    fn predict(&mut self, count: usize) -> Result<f64, Box<dyn Error>> {
        let len = self.batch_size * self.sizes.iter().product::<usize>();
        let shape: Vec<usize> = [self.batch_size].into_iter().chain(self.sizes.iter().copied()).collect();
        let begin = Instant::now();
        for _ in 0..count {
            let batch = TensorView::from_data(&shape, &self.samples[self.next * len..][..len]);
            self.model.run_one(batch.into(), None)?;
            self.next = (self.next + 1) % (self.samples.len() / len);
        }
        Ok(begin.elapsed().as_secs_f64().max(1e-9))
    }
}

fn number(request: &Value, key: &str) -> f64 {
    request[key].as_f64().unwrap_or(1.0)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, samples] = &arguments[..] else { return Err("usage: rten-peer MODEL.ONNX SAMPLES.F32".into()) };
    let mut peer = Peer::load(model, samples)?;
    let mut steps = 1;
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        if let Some(task) = request["prepare"].as_str() {
            if task != "predict" {
                return Err(format!("`{task}`: RTen only predicts").into());
            }
            (peer.batch_size, peer.next) = (number(&request, "batch_size") as usize, 0);
            peer.predict(1)?;
            println!("{}", json!({"first": true}));
            let (seconds, mut count) = (number(&request, "seconds"), 1);
            let took = loop {
                let took = peer.predict(count)?;
                if took >= seconds / 4.0 {
                    break took;
                }
                count *= 2;
            };
            steps = ((count as f64 * seconds / took).round() as usize).max(1);
            println!("{}", json!({"ready": true}));
        } else if request.get("measure").is_some() {
            // A short warm-up: the processor's caches hold another program's data.
            peer.predict(1)?;
            let rate = (steps * peer.batch_size) as f64 / peer.predict(steps)?;
            println!("{}", json!({"run": rate}));
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
