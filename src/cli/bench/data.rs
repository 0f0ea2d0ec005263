//! The samples for a measurement.

use std::path::Path;

use brasa::datasets::{Dataset, Samples, load_npz};
use brasa::memory::check_room;
use brasa::{Error, Model, Result};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The most bytes of random inputs.
const MOST_BYTES: usize = 8 << 20;
/// The most random samples, however small, unless a batch has more.
const MOST_SAMPLES: usize = 1 << 15;

/// The encoding of random targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetEncoding {
    /// A class index for each row of outputs.
    Labels,
    /// One-hot rows.
    Rows,
}

/// The samples of an `.npz`, in whole batches.
///
/// # Errors
/// Those of [`load_npz`]; [`Error::Data`] for fewer than one batch.
pub fn read(path: &Path, batch_size: usize) -> Result<Dataset> {
    let (data, _) = load_npz(path)?;
    if data.len() < batch_size {
        let expected = format!("{batch_size} samples at least, as many as a step takes");
        return Err(Error::data(format!("`{}`", path.display()), expected, data.len()));
    }
    Ok(data.take(data.len() / batch_size * batch_size))
}

/// The number of random samples to make: whole batches.
///
/// # Errors
/// As [`made_up`].
pub fn count(model: &Model, batch_size: usize) -> Result<usize> {
    let shape = input_shape(model)?;
    let bytes = product(&shape).max(1).saturating_mul(if is_image(&shape) { 1 } else { 4 });
    let batches = (MOST_BYTES / bytes).min(MOST_SAMPLES) / batch_size.max(1);
    Ok(batches.max(1).saturating_mul(batch_size))
}

/// Random samples, the same each time: images of bytes, or numbers from 0 to below 1; for an embedding, valid indices.
///
/// # Errors
/// [`Error::State`] for a model without input shape, [`Error::Shape`] for one with unknown sizes, [`Error::Memory`] for
/// more than fits in memory.
pub fn made_up(model: &Model, samples: usize, targets: TargetEncoding) -> Result<Dataset> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let shape = input_shape(model)?;
    let output = model.output_shape()?.known_sample()?;
    let (classes, rows) = output.split_last().map_or((1, &[][..]), |(classes, rows)| (*classes, rows));
    let sizes = [&[samples], shape.as_slice()].concat();
    let values = product(&sizes);
    let targets_made = match targets {
        TargetEncoding::Labels => product(rows),
        // The labels from which they are made are in memory, too.
        TargetEncoding::Rows => product(rows).saturating_mul(classes.saturating_add(1)),
    };
    let made = values.saturating_add(targets_made.saturating_mul(samples));
    check_room(&format!("making up {samples} samples of shape {shape:?}"), made)?;
    let x = if let Some(numbers) = numbers_known(model)? {
        Samples::new(sizes, (0..values).map(|_| random.random_range(0..numbers)).collect::<Vec<i32>>())?
    } else if is_image(&shape) {
        let mut bytes = vec![0_u8; values];
        random.fill(&mut bytes[..]);
        Samples::new(sizes, bytes)?.divided_by(255.0)?
    } else {
        Samples::new(sizes, (0..values).map(|_| random.random::<f32>()).collect::<Vec<f32>>())?
    };

    let sizes = [&[samples], rows].concat();
    let labels: Vec<i32> = (0..product(&sizes))
        .map(|_| random.random_range(0..i32::try_from(classes.max(2)).unwrap_or(i32::MAX)))
        .collect();
    let y = match targets {
        TargetEncoding::Labels => Samples::new(sizes, labels)?,
        TargetEncoding::Rows => {
            let mut hot = vec![0.0_f32; labels.len() * classes];
            for (row, label) in hot.chunks_mut(classes.max(1)).zip(&labels) {
                // With a single class, the target is 0 or 1.
                if let Some(value) = row.get_mut(if classes == 1 { 0 } else { *label as usize }) {
                    *value = if classes == 1 { *label as f32 } else { 1.0 };
                }
            }
            Samples::new([&sizes[..], &[classes]].concat(), hot)?
        }
    };
    Dataset::new(x, y)
}

/// The product of sizes, saturating.
fn product(sizes: &[usize]) -> usize {
    sizes.iter().fold(1, |product: usize, size| product.saturating_mul(*size))
}

fn input_shape(model: &Model) -> Result<Vec<usize>> {
    if !model.is_built() {
        let needs = "built: give its first layer an input_shape, or samples with --data";
        return Err(Error::state("bench", needs));
    }
    model.input_shape()?.known_sample()
}

fn is_image(shape: &[usize]) -> bool {
    matches!(shape, [_, _, 1 | 3 | 4])
}

/// The number of valid indices, if the first layer is a lookup.
fn numbers_known(model: &Model) -> Result<Option<i32>> {
    let Some(first) = model.layers().iter().find(|layer| layer.class_name() != "InputLayer") else { return Ok(None) };
    let config = first.config()?;
    let known = ["input_dim", "num_tokens"].iter().find_map(|key| config.get(*key)?.as_i64());
    Ok(known.map(|known| i32::try_from(known.max(1)).unwrap_or(i32::MAX)))
}

#[cfg(test)]
mod tests {
    use brasa::layers::Layer;
    use brasa::prelude::*;

    use super::*;
    use brasa::Sequential;

    fn model(layers: impl IntoIterator<Item = Box<dyn Layer>>) -> Sequential {
        let mut model = Sequential::new();
        for layer in layers {
            model.add(layer).unwrap();
        }
        model
    }

    fn range(samples: &Samples) -> (f32, f32) {
        let values = samples.to_vec_f32();
        (values.iter().copied().fold(f32::MAX, f32::min), values.iter().copied().fold(f32::MIN, f32::max))
    }

    #[test]
    fn images_are_bytes_and_classes_are_labels_or_rows() {
        let model = model([Flatten::new().input_shape((4, 4, 3)).into(), Dense::new(5).activation("softmax").into()]);
        let data = made_up(&model, 200, TargetEncoding::Labels).unwrap();
        assert_eq!((data.x().shape(), data.x().dtype()), (&[200, 4, 4, 3][..], "uint8"));
        assert_eq!(range(&data.x()), (0.0, 1.0), "9600 bytes have both ends");
        assert_eq!((data.y().shape(), range(&data.y())), (&[200][..], (0.0, 4.0)));
        let rows = made_up(&model, 200, TargetEncoding::Rows).unwrap().y();
        assert_eq!(rows.shape(), [200, 5]);
        assert!(rows.to_vec_f32().chunks(5).all(|row| row.iter().sum::<f32>() == 1.0));
    }

    #[test]
    fn a_single_output_is_zero_or_one() {
        let model = model([Dense::new(1).activation("sigmoid").input_shape(3).into()]);
        for targets in [TargetEncoding::Labels, TargetEncoding::Rows] {
            assert_eq!(range(&made_up(&model, 50, targets).unwrap().y()), (0.0, 1.0));
        }
    }

    #[test]
    fn embeddings_get_valid_indices() {
        let model = model([Embedding::new(7, 2).input_shape(10).into(), Flatten::new().into(), Dense::new(1).into()]);
        let x = made_up(&model, 50, TargetEncoding::Labels).unwrap().x();
        assert_eq!((x.shape(), range(&x)), (&[50, 10][..], (0.0, 6.0)));
        model.predict(x).unwrap();
    }

    #[test]
    fn samples_fill_whole_batches() {
        let model = model([Dense::new(1).input_shape(1 << 20).into()]);
        assert_eq!(count(&model, 2).unwrap(), 2, "two samples are 8 MiB");
        assert_eq!(count(&model, 3).unwrap(), 3, "never less than a batch");
    }

    /// Samples that do not fit in memory are refused, and no product of sizes overflows.
    #[cfg(target_os = "linux")]
    #[test]
    fn samples_beyond_memory_are_refused() {
        let model = model([Dense::new(1).input_shape((1 << 20, 3)).into()]);
        for samples in [1 << 23, 1 << 45, usize::MAX] {
            for targets in [TargetEncoding::Labels, TargetEncoding::Rows] {
                let error = made_up(&model, samples, targets).unwrap_err();
                assert!(matches!(error, Error::Memory { .. }), "{error}");
                assert!(error.to_string().contains("samples of shape [1048576, 3]"), "{error}");
            }
        }
        assert_eq!(count(&model, usize::MAX).unwrap(), usize::MAX);
    }

    #[test]
    fn a_model_without_an_input_shape_is_refused() {
        let model = model([Dense::new(1).into()]);
        let error = made_up(&model, 1, TargetEncoding::Labels).unwrap_err().to_string();
        assert!(error.contains("input_shape") && error.contains("--data"), "{error}");
    }
}
