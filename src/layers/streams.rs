//! The random numbers of a layer for a batch of images.

use std::sync::Arc;

use crate::random::{Random, random};

/// Separates the streams of images from those of whole batches.
const IMAGE: u64 = 0x0069_6d61_6765;

/// The samples of a batch, for random numbers that depend on the sample and not on the batch that it is in.
#[derive(Clone, Debug)]
pub(crate) struct SampleKeys {
    /// The pass over the data, counted from 0.
    pub pass: u64,
    /// The index of each sample in the data.
    pub samples: Vec<usize>,
}

/// A stream of random numbers for a batch, and one for each of its images.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    /// The rng key: the seed, the step, the layer.
    key: Vec<u64>,
    samples: Option<Arc<SampleKeys>>,
    /// The number of images of the batch before these, which other ranks have.
    before: usize,
}

impl Streams {
    /// The streams of a layer whose rng key begins with the seed and the step. If the samples are known, the stream of
    /// each image depends on seed, pass, sample and layer, otherwise on seed, step, layer and position in the batch.
    pub fn new(key: Vec<u64>, samples: Option<Arc<SampleKeys>>) -> Self {
        Self { key, samples, before: 0 }
    }

    /// The streams of a part of the batch, after so many of its images.
    pub fn after(self, before: usize) -> Self {
        Self { before, ..self }
    }

    /// Streams of this key, whose samples are unknown.
    #[cfg(test)]
    pub fn of(key: &[u64]) -> Self {
        Self::new(key.to_vec(), None)
    }

    /// The streams of a layer inside this one.
    pub fn part(&self, number: usize) -> Self {
        let key = [self.key.as_slice(), &[number as u64]].concat();
        Self { key, samples: self.samples.clone(), before: self.before }
    }

    /// The stream of what all images share.
    pub fn batch(&self) -> Random {
        random(&self.key)
    }

    /// The stream of image `index` of the batch.
    fn image(&self, index: usize) -> Random {
        let known = self.samples.as_deref().and_then(|keys| Some((keys.pass, *keys.samples.get(index)? as u64)));
        match (known, &self.key[..]) {
            (Some((pass, sample)), [seed, _, layer @ ..]) => random(&[&[*seed, IMAGE, pass, sample], layer].concat()),
            _ => random(&[self.key.as_slice(), &[IMAGE, (self.before + index) as u64]].concat()),
        }
    }

    /// Draws something for each of `count` images, from its own stream.
    pub fn each<T>(&self, count: usize, mut draw: impl FnMut(&mut Random) -> T) -> Vec<T> {
        (0..count).map(|index| draw(&mut self.image(index))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(streams: &Streams, count: usize) -> Vec<f32> {
        streams.each(count, |random| random.uniform(0.0..1.0))
    }

    #[test]
    fn the_stream_of_an_image_depends_on_its_sample_and_not_on_its_batch() {
        let of = |key: &[u64], pass: u64, samples: &[usize]| {
            Streams::new(key.to_vec(), Some(Arc::new(SampleKeys { pass, samples: samples.to_vec() })))
        };
        let together = draws(&of(&[1, 0, 7], 2, &[5, 3, 9]), 3);
        assert!(together[0] != together[1] && together[1] != together[2]);
        // In another step, at another position.
        assert_eq!(draws(&of(&[1, 8, 7], 2, &[9, 5]), 2), [together[2], together[0]]);
        for other in [of(&[2, 0, 7], 2, &[5]), of(&[1, 0, 8], 2, &[5]), of(&[1, 0, 7], 3, &[5])] {
            assert_ne!(draws(&other, 1)[0], together[0]);
        }
        // The draws that a batch shares depend on the step.
        let shared = |key: &[u64]| of(key, 2, &[5]).batch().uniform(0.0..1.0);
        assert_eq!(shared(&[1, 0, 7]), shared(&[1, 0, 7]));
        assert_ne!(shared(&[1, 0, 7]), shared(&[1, 1, 7]));
    }

    #[test]
    fn without_samples_the_place_in_the_batch_counts() {
        let streams = Streams::of(&[1, 0, 7]);
        let first = draws(&streams, 3);
        assert_eq!(draws(&streams, 2), first[..2]);
        assert_eq!(draws(&streams.clone().after(1), 2), first[1..], "a part of the batch");
        assert_ne!(draws(&Streams::of(&[1, 1, 7]), 1)[0], first[0]);
        assert_ne!(draws(&streams.part(0), 1)[0], draws(&streams.part(1), 1)[0]);
    }
}
