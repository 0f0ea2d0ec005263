//! RTen as a peer of `benches/peers/run.py`, for predictions.
//!
//! usage: rten-peer MODEL.ONNX SAMPLES.F32 (raw float32 samples of the model's input shape)

use std::time::Instant;

use peer_protocol::{Outcome, Peer, answer};
use rten::{Dimension, Model, ModelOptions};
use rten_tensor::TensorView;

/// A loaded model, the samples, and the size of the batches.
struct Rten {
    model: Model,
    samples: Vec<f32>,
    /// The sizes of a sample, and the number of its values.
    sizes: Vec<usize>,
    values: usize,
    batch_size: usize,
    next: usize,
}

impl Rten {
    fn load(model: &str, samples: &str) -> Outcome<Self> {
        let model = ModelOptions::with_all_ops().prepack_weights(true).load_file(model)?;
        let input = *model.input_ids().first().ok_or("the model has no input")?;
        let shape = model.node_info(input).and_then(|info| info.shape()).ok_or("the input has no shape")?;
        let fixed = |size: &Dimension| match size {
            Dimension::Fixed(size) => Ok(*size),
            Dimension::Symbolic(name) => Err(format!("a sample's size is `{name}`")),
        };
        let sizes = shape[1..].iter().map(fixed).collect::<Result<Vec<_>, _>>()?;
        let values =
            sizes.iter().try_fold(1usize, |all, size| all.checked_mul(*size)).ok_or("a sample is too large")?;
        let bytes = std::fs::read(samples)?;
        let samples =
            bytes.chunks_exact(4).map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
        Ok(Self { model, samples, sizes, values, batch_size: 1, next: 0 })
    }
}

impl Peer for Rten {
    const WAY: &'static str = "run";

    fn prepare(&mut self, task: &str, batch_size: usize) -> Outcome<()> {
        if task != "predict" {
            return Err(format!("`{task}`: RTen only predicts").into());
        }
        (self.batch_size, self.next) = (batch_size, 0);
        Ok(())
    }

    fn steps(&mut self, count: usize) -> Outcome<f64> {
        let len = self.batch_size.checked_mul(self.values).filter(|len| (1..=self.samples.len()).contains(len));
        let len = len.ok_or("there are fewer samples than a batch has")?;
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

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, samples] = &arguments[..] else { return Err("usage: rten-peer MODEL.ONNX SAMPLES.F32".into()) };
    answer(Rten::load(model, samples)?)
}
