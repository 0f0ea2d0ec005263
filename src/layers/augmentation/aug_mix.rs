//! `AugMix`: mixes images with chains of operations on them.

use rand_distr::{Beta, Distribution, Gamma};

use super::factor::{Factor, ValueRange};
use super::images::Images;
use super::policy::{COPIES, MAX_COUNT, Operation, Policy};
use super::projection::Sampling;
use super::{Change, Streams, check_colours, image_layer};
use crate::error::{Error, Result};
use crate::layers::BuiltIn;
use crate::random::Random;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Mixes each image in training with the results of chains of operations, which are chosen at random for each batch
    /// (Hendrycks et al. 2019). The operations are those of [`RandAugment`](super::RandAugment).
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(AugMix::new().factor(0.2).value_range((0.0, 1.0)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct AugMix {
        /// The range of the images' values; results are clipped to it.
        value_range: ValueRange = ValueRange::BYTES,
        /// The number of chains, from 1 to 100; `num_chains · chain_depth` is at most 1,000.
        num_chains: usize = 3,
        /// The maximum number of operations per chain, from 1 to 100; each can be the identity.
        chain_depth: usize = 3,
        /// The magnitude of the operations, from 0 to 1; a single number means from 0 to it.
        factor: Factor = Factor::One(0.3),
        /// The concentration of the mixing weights, above 0: 1 is uniform, larger values give more even weights.
        alpha: f32 = 1.0,
        /// Whether brightness, colour, contrast and sharpness are among the operations.
        all_ops: bool = true,
        /// The interpolation between pixels.
        interpolation: Sampling = Sampling::Bilinear,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

/// The maximum number of operations in all chains together.
const MAX_OPERATIONS: usize = 1000;

/// The range of `alpha` in which weights can be drawn in float arithmetic.
const ALPHAS: [f32; 2] = [1e-3, 1e6];

/// The weights of the chains, which sum to 1, and of the original image.
#[derive(Clone, Debug)]
struct MixWeights {
    chains: Vec<f32>,
    image: f32,
}

impl AugMix {
    /// Three chains of up to three operations.
    pub fn new() -> Self {
        Self::default()
    }

    fn operations(&self) -> Vec<Operation> {
        Operation::ALL.into_iter().filter(|operation| self.all_ops || !operation.is_of_all_ops()).collect()
    }

    fn weights(&self, random: &mut Random) -> MixWeights {
        let alpha = f64::from(self.alpha.clamp(ALPHAS[0], ALPHAS[1]));
        let even = 1.0 / self.num_chains as f64;
        let parts: Vec<f64> = match Gamma::new(alpha, 1.0) {
            Ok(gamma) => (0..self.num_chains).map(|_| gamma.sample(random)).collect(),
            Err(_) => vec![even; self.num_chains],
        };
        let sum: f64 = parts.iter().sum();
        // If all parts underflow to 0, they are taken as even.
        let part = |part: &f64| if sum > 0.0 { part / sum } else { even };
        let image = Beta::new(alpha, alpha).map_or(0.5, |beta| beta.sample(random));
        MixWeights { chains: parts.iter().map(|number| part(number) as f32).collect(), image: image as f32 }
    }

    /// Mixes the results of the chains with the images, by their weights.
    fn mix(&self, images: &mut Images, chains: &[Images], weights: &MixWeights) {
        for (index, number) in images.values_mut().iter_mut().enumerate() {
            let mixed: f32 =
                chains.iter().zip(&weights.chains).map(|(chain, weight)| chain.values()[index] * weight).sum();
            *number = self.value_range.clip(weights.image * *number + (1.0 - weights.image) * mixed);
        }
    }
}

impl Change for AugMix {
    fn check(&self, channels: Option<usize>) -> Result<()> {
        self.value_range.check()?;
        self.interpolation.check()?;
        self.factor.check("factor", [0.0, 1.0])?;
        for (argument, count) in [("num_chains", self.num_chains), ("chain_depth", self.chain_depth)] {
            if !(1..=MAX_COUNT).contains(&count) {
                return Err(Error::argument(argument, format!("an integer from 1 to {MAX_COUNT}"), count));
            }
        }
        if !(ALPHAS[0]..=ALPHAS[1]).contains(&self.alpha) {
            return Err(Error::argument("alpha", format!("a number from {} to {}", ALPHAS[0], ALPHAS[1]), self.alpha));
        }
        if self.num_chains * self.chain_depth > MAX_OPERATIONS {
            let received = format!("{} · {}", self.num_chains, self.chain_depth);
            let expected = format!("a product with `chain_depth` of at most {MAX_OPERATIONS}");
            return Err(Error::argument("num_chains", expected, received));
        }
        // Only the operations of `all_ops` change colours.
        if self.all_ops { check_colours(channels) } else { Ok(()) }
    }

    fn change(&self, images: &mut Images, streams: &Streams) {
        let policy = Policy { factor: self.factor, value_range: self.value_range, interpolation: &self.interpolation };
        let mut shared = streams.batch();
        let (operations, weights) = (self.operations(), self.weights(&mut shared));
        let chains: Vec<Images> = (0..self.num_chains)
            .map(|number| {
                let mut chain = images.clone();
                for depth in 0..self.chain_depth {
                    // The last index stands for the identity.
                    if let Some(operation) = operations.get(shared.below(operations.len() + 1)) {
                        policy.layer(*operation).change(&mut chain, &streams.part(number).part(depth));
                    }
                }
                chain
            })
            .collect();
        self.mix(images, &chains, &weights);
    }

    fn copies(&self) -> usize {
        self.num_chains.saturating_add(COPIES)
    }
}

image_layer!(AugMix);

impl BuiltIn for AugMix {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new().value_range((-1.0, 1.0)), Shape::batch_of((5, 4, 3))),
            (Self::new().num_chains(1).alpha(0.3).all_ops(false).interpolation("nearest"), Shape::batch_of((4, 4, 1))),
            (Self::new().seed(1).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 4, 5))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{goldens, images::Size};
    use super::*;
    use crate::random::random;

    #[test]
    fn chains_and_image_are_mixed_by_their_weights() {
        let size = Size { rows: 1, columns: 2, channels: 1 };
        let mut images = Images::new(vec![100.0, 200.0], size);
        let chains = [Images::new(vec![0.0, 255.0], size), Images::new(vec![50.0, 255.0], size)];
        AugMix::new().mix(&mut images, &chains, &MixWeights { chains: vec![0.75, 0.25], image: 0.4 });
        // 0.4 · 100 + 0.6 · (0.75 · 0 + 0.25 · 50) and 0.4 · 200 + 0.6 · 255.
        assert_eq!(images.into_values(), [47.5, 233.0]);
    }

    #[test]
    fn weights_sum_to_one_and_are_uniform_for_an_alpha_of_one() {
        let layer = AugMix::new().num_chains(2);
        let drawn: Vec<MixWeights> = (0..2000).map(|step| layer.weights(&mut random(&[step]))).collect();
        assert!(drawn.iter().all(|weights| (weights.chains.iter().sum::<f32>() - 1.0).abs() < 1e-5));
        goldens::even(&drawn.iter().map(|weights| weights.image).collect::<Vec<_>>(), 0.0, 1.0);
        goldens::even(&drawn.iter().map(|weights| weights.chains[0]).collect::<Vec<_>>(), 0.0, 1.0);
        for alpha in ALPHAS {
            let weights = AugMix::new().alpha(alpha).weights(&mut random(&[1]));
            assert!(weights.chains.iter().chain([&weights.image]).all(|weight| (0.0..=1.0).contains(weight)));
        }
        let many = |chains: usize, depth: usize| AugMix::new().num_chains(chains).chain_depth(depth).check(Some(3));
        assert!(many(10, 100).is_ok());
        let error = many(11, 91).unwrap_err().to_string();
        assert!(["num_chains", "chain_depth", "1000", "11 · 91"].iter().all(|word| error.contains(word)), "{error}");
        assert!(AugMix::new().check(Some(4)).is_err() && AugMix::new().all_ops(false).check(Some(4)).is_ok());
        assert_eq!((AugMix::new().operations().len(), AugMix::new().all_ops(false).operations().len()), (11, 7));
    }

    /// A chain of depth 1 mixes the image with the result of its operation.
    #[test]
    fn one_operation_is_the_drawn_one() {
        let case = goldens::cases::<super::super::RandomHue>().remove(0);
        let layer = AugMix::new().num_chains(1).chain_depth(1);
        let policy =
            Policy { factor: layer.factor, value_range: layer.value_range, interpolation: &layer.interpolation };
        let mut picked = [false; 12];
        for step in 0..100 {
            let streams = Streams::of(&[step]);
            let mut shared = streams.batch();
            let weights = layer.weights(&mut shared);
            let index = shared.below(12);
            picked[index] = true;
            let mut chain = case.images();
            if let Some(operation) = Operation::ALL.get(index) {
                policy.layer(*operation).change(&mut chain, &streams.part(0).part(0));
            }
            let (mut expected, mut found) = (case.images(), case.images());
            layer.mix(&mut expected, &[chain], &weights);
            Change::change(&layer, &mut found, &streams);
            assert_eq!(found.into_values(), expected.into_values(), "{index}");
        }
        assert_eq!(picked, [true; 12]);
    }
}
