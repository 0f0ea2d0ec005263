//! The notebook's network written by hand in Burn, as a peer of `benches/peers/run.py`.
//!
//! usage: burn-peer BACKEND SAMPLES.F32 LABELS.I32 (BACKEND is cpu, or the feature that it was built with)

use std::time::Instant;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};
use peer_protocol::{Outcome, Peer, answer};

/// Pixels of an image.
const PIXELS: usize = 28 * 28;

/// Channels first, as Burn's layers have them.
#[derive(Module, Debug)]
struct Network {
    first: Conv2d,
    second: Conv2d,
    pool: MaxPool2d,
    dense: Linear,
}

impl Network {
    fn new(device: &Device) -> Self {
        Self {
            first: Conv2dConfig::new([1, 32], [5, 5]).init(device),
            second: Conv2dConfig::new([32, 64], [5, 5]).init(device),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            dense: LinearConfig::new(1024, 10).init(device),
        }
    }

    /// Logits of images of shape (batch, 1, 28, 28).
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.first.forward(images)));
        let x = self.pool.forward(relu(self.second.forward(x)));
        self.dense.forward(x.flatten(1, 3))
    }
}

fn device(backend: &str) -> Outcome<Device> {
    match backend {
        "cpu" | "flex" => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(Default::default())),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(Device::vulkan(Default::default())),
        #[cfg(feature = "metal")]
        "metal" => Ok(Device::metal(Default::default())),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0)),
        other => Err(format!("this program was built without the backend `{other}`").into()),
    }
}

/// The network, its optimizer, and the samples.
struct ByHand {
    device: Device,
    network: Network,
    optimizer: ModuleOptimizer,
    images: Vec<f32>,
    labels: Vec<i32>,
    trains: bool,
    batch_size: usize,
    next: usize,
}

impl ByHand {
    fn load(backend: &str, images: &str, labels: &str) -> Outcome<Self> {
        let device = device(backend)?;
        let words = |path: &str| -> Outcome<Vec<[u8; 4]>> {
            Ok(std::fs::read(path)?.chunks_exact(4).map(|word| [word[0], word[1], word[2], word[3]]).collect())
        };
        Ok(Self {
            network: Network::new(&device),
            optimizer: AdamConfig::new().init(),
            images: words(images)?.into_iter().map(f32::from_le_bytes).collect(),
            labels: words(labels)?.into_iter().map(i32::from_le_bytes).collect(),
            device,
            trains: false,
            batch_size: 1,
            next: 0,
        })
    }
}

impl Peer for ByHand {
    const WAY: &'static str = "by-hand";

    fn prepare(&mut self, task: &str, batch_size: usize) -> Outcome<()> {
        (self.trains, self.batch_size, self.next) = (task == "train", batch_size, 0);
        self.optimizer = AdamConfig::new().init();
        self.network = match self.trains {
            true => Network::new(&self.device.clone().autodiff()),
            false => Network::new(&self.device),
        };
        Ok(())
    }

    fn steps(&mut self, count: usize) -> Outcome<f64> {
        let begin = Instant::now();
        for step in 0..count {
            let rows = self.next * self.batch_size;
            self.next = (self.next + 1) % (self.labels.len() / self.batch_size);
            let pixels = self.images[rows * PIXELS..][..self.batch_size * PIXELS].to_vec();
            let device = if self.trains { self.device.clone().autodiff() } else { self.device.clone() };
            let images = Tensor::<4>::from_data(TensorData::new(pixels, [self.batch_size, 1, 28, 28]), &device);
            if !self.trains {
                // Each prediction is read, as `predict` returns them all.
                softmax(self.network.forward(images), 1).into_data();
                continue;
            }
            let labels = TensorData::new(self.labels[rows..][..self.batch_size].to_vec(), [self.batch_size]);
            let labels = Tensor::<1, Int>::from_data(labels, &device);
            let loss = CrossEntropyLossConfig::new().init(&device).forward(self.network.forward(images), labels);
            let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
            self.network = self.optimizer.step(1e-3, self.network.clone(), gradients);
            if step + 1 == count {
                let loss = loss.into_data().try_to_vec::<f32>().map_err(|error| format!("{error:?}"))?;
                assert!(loss[0].is_finite(), "the loss is {}", loss[0]);
            }
        }
        Ok(begin.elapsed().as_secs_f64().max(1e-9))
    }
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, backend, images, labels] = &arguments[..] else {
        return Err("usage: burn-peer BACKEND SAMPLES.F32 LABELS.I32".into());
    };
    answer(ByHand::load(backend, images, labels)?)
}
