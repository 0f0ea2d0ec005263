//! The batches of a source, for a training loop of one's own.

use burn::tensor::Device;

use super::batches::{gather, order};
use crate::datasets::Source;
use crate::error::{Error, Result};
use crate::ops::Value;

/// One batch on the device, in the order of the source's inputs and targets.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Batch {
    /// The inputs, of shape (batch, …).
    pub x: Vec<Value>,
    /// The targets, of shape (batch, …).
    pub y: Vec<Value>,
    /// The samples' weights: none, one for all targets, or one for each.
    pub sample_weights: Vec<Option<Value>>,
}

/// The batches of one epoch: [`batches`].
#[derive(Clone, Debug)]
pub struct Batches<'a, S: ?Sized> {
    source: &'a S,
    order: Vec<usize>,
    batch_size: usize,
    device: Device,
    taken: usize,
}

/// Iterates over a source in batches of `batch_size` on `device`, in order; the last one is smaller if the samples do
/// not come out even. [`shuffle`](Batches::shuffle) shuffles them.
///
/// ```
/// use brasa::losses::Loss;
/// use brasa::model::Mode;
/// use brasa::prelude::*;
/// use brasa::training::batches;
///
/// let data = Dataset::new(&ndarray::Array2::<f32>::ones((10, 3)), vec![1.0f32; 10])?;
/// let mut model = Sequential::new();
/// model.add(Dense::new(1).input_shape(3))?.compile(Compile::new(SGD::new(0.01), "mse"))?;
/// let (loss, mut step) = (MeanSquaredError::default(), 0);
/// for epoch in 0..2 {
///     for batch in batches(&data, 4, model.device())?.shuffle(1, epoch) {
///         let batch = batch?;
///         let pass = model.forward_all(batch.x, Mode::Training { seed: 1, step })?;
///         let gradients = pass.gradients(&loss.value(&batch.y[0], pass.output())?)?;
///         model.apply_gradients(gradients)?;
///         step += 1;
///     }
/// }
/// assert_eq!(step, 6);
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] for a `batch_size` of 0. An item is an error where the source cannot read its samples, or has
/// texts, which are no numbers.
pub fn batches<'a, S: Source + ?Sized>(source: &'a S, batch_size: usize, device: &Device) -> Result<Batches<'a, S>> {
    if batch_size == 0 {
        return Err(Error::argument("batch_size", "an integer above 0", batch_size));
    }
    let order = order(0..source.len(), None);
    Ok(Batches { source, order, batch_size, device: device.clone(), taken: 0 })
}

impl<S: Source + ?Sized> Batches<'_, S> {
    /// Takes the samples in an order that depends on seed and epoch alone, the one in which `fit` takes them.
    #[must_use]
    pub fn shuffle(mut self, seed: u64, epoch: usize) -> Self {
        self.order = order(0..self.source.len(), Some((seed, epoch)));
        self
    }

    fn read(&self, indices: &[usize]) -> Result<Batch> {
        let host = gather(self.source, None, indices.to_vec())?;
        let value = |numbers: Vec<f32>, shape: &[usize]| {
            Value::from_vec(numbers, &[&[indices.len()], shape].concat(), &self.device)
        };
        let fields = |numbers: Vec<Vec<f32>>, fields: Vec<crate::datasets::Field>| -> Result<Vec<Value>> {
            numbers.into_iter().zip(fields).map(|(numbers, field)| value(numbers, &field.shape)).collect()
        };
        let weights = host.weights.into_iter();
        Ok(Batch {
            x: fields(host.x, self.source.x_fields())?,
            y: fields(host.y, self.source.y_fields())?,
            sample_weights: weights
                .map(|weights| weights.map(|weights| value(weights.numbers, &weights.shape)).transpose())
                .collect::<Result<_>>()?,
        })
    }
}

impl<S: Source + ?Sized> Iterator for Batches<'_, S> {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = self.order.len().min(self.taken.saturating_add(self.batch_size));
        let batch = self.order.get(self.taken..end).filter(|batch| !batch.is_empty())?;
        let read = self.read(batch);
        self.taken = end;
        Some(read)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.order.len() - self.taken).div_ceil(self.batch_size);
        (left, Some(left))
    }
}

impl<S: Source + ?Sized> ExactSizeIterator for Batches<'_, S> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::Dataset;

    #[test]
    fn every_sample_is_in_one_batch_of_an_epoch() {
        let data = Dataset::new(vec![0.0f32, 1.0, 2.0, 3.0, 4.0], vec![0.0f32, 10.0, 20.0, 30.0, 40.0]).unwrap();
        let device = Device::flex();
        let read = |batches: Batches<'_, Dataset>| -> Vec<Vec<f32>> {
            let pairs = batches.map(|batch| batch.unwrap()).map(|batch| {
                let (x, y) = (batch.x[0].to_vec().unwrap(), batch.y[0].to_vec().unwrap());
                assert!(x.iter().zip(&y).all(|(x, y)| x * 10.0 == *y), "a target stays with its input");
                x
            });
            pairs.collect()
        };
        let plain = batches(&data, 2, &device).unwrap();
        assert_eq!(plain.len(), 3);
        assert_eq!(read(plain), [vec![0.0, 1.0], vec![2.0, 3.0], vec![4.0]]);
        let shuffled = |epoch| read(batches(&data, 2, &device).unwrap().shuffle(1, epoch)).concat();
        assert_ne!(shuffled(0), shuffled(1));
        let mut sorted = shuffled(1);
        sorted.sort_by(f32::total_cmp);
        assert_eq!(sorted, [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert!(batches(&data, 0, &device).is_err());
    }
}
