//! Burn's datasets as sources, and Brasa's sources as Burn datasets.

use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;

use burn_dataset::{Dataset as BurnDataset, DatasetError};

use super::dataset::Dataset;
#[cfg(feature = "images")]
use super::image::ImageFolder;
use super::npy_file::NpySource;
use super::samples::{check_request, count_of};
use super::source::{Part, Source};
use crate::error::{Error, Result};

/// A Burn dataset of items of any type as a [`Source`] for training and evaluation: a closure writes an item into `x`
/// and `y`.
///
/// The dataset can be in memory (`InMemDataset`), in an SQLite database, a data frame, or any of `burn_dataset`'s
/// transforms (mapped, windowed, sampled, composed). A batch is read with one `get_many`. `fit` shuffles, splits and
/// resumes as with any other source.
///
/// Brasa's own [`Part`] takes the last samples for validation here too, and Brasa draws the order of an epoch: both
/// work on indices without a cost per item, and the order is a function of seed and epoch alone, so that a run can be
/// resumed. `ShuffledDataset` draws another order, with a generator that the crate `rand` may change; `PartialDataset`
/// reads item by item and panics where [`Part`] returns an error. Both can be used as the dataset here.
///
/// ```
/// use brasa::datasets::FromBurn;
/// use brasa::prelude::*;
/// use burn_dataset::{InMemDataset, transform::PartialDataset};
///
/// #[derive(Clone)]
/// struct House {
///     rooms: u8,
///     area: f32,
///     price: f32,
/// }
///
/// let houses = (0..40).map(|i| House { rooms: i % 5, area: f32::from(i) / 40.0, price: f32::from(i) / 10.0 });
/// let houses = PartialDataset::new(InMemDataset::new(houses.collect()), 0, 32);
/// let data = FromBurn::new(houses, [2], [], |house: House, x, y| {
///     x.copy_from_slice(&[f32::from(house.rooms), house.area]);
///     y[0] = house.price;
///     Ok(())
/// });
///
/// let mut model = Sequential::new();
/// model.add(Dense::new(1).input_shape(2))?.compile(Compile::new(Adam::new(0.01), "mse"))?;
/// model.fit(&data, Fit::new().epochs(2).validation_split(0.25).verbose(Verbosity::Silent))?;
/// assert!(model.evaluate(&data)?.loss.is_finite());
/// # Ok::<(), brasa::Error>(())
/// ```
pub struct FromBurn<D, I, E, F> {
    dataset: D,
    x_shape: Vec<usize>,
    y_shape: Vec<usize>,
    write: F,
    items: PhantomData<fn() -> (I, E)>,
}

impl<D, I, E, F> FromBurn<D, I, E, F>
where
    D: BurnDataset<I, E>,
    E: StdError + Send + Sync + 'static,
    F: Fn(I, &mut [f32], &mut [f32]) -> Result<()> + Send + Sync,
{
    /// A source of the items of `dataset`. `write` receives an item, the buffer for an input of shape `x_shape` and
    /// that for a target of shape `y_shape` (`[]` for a label), both in row-major order and zeroed.
    pub fn new(dataset: D, x_shape: impl Into<Vec<usize>>, y_shape: impl Into<Vec<usize>>, write: F) -> Self {
        Self { dataset, x_shape: x_shape.into(), y_shape: y_shape.into(), write, items: PhantomData }
    }

    /// The dataset.
    pub fn dataset(&self) -> &D {
        &self.dataset
    }
}

impl<D, I, E, F> fmt::Debug for FromBurn<D, I, E, F>
where
    D: BurnDataset<I, E>,
    E: StdError + Send + Sync + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("FromBurn");
        text.field("len", &self.dataset.len()).field("x_shape", &self.x_shape).field("y_shape", &self.y_shape);
        text.finish_non_exhaustive()
    }
}

impl<D, I, E, F> Source for FromBurn<D, I, E, F>
where
    D: BurnDataset<I, E>,
    E: StdError + Send + Sync + 'static,
    F: Fn(I, &mut [f32], &mut [f32]) -> Result<()> + Send + Sync,
{
    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn x_shape(&self) -> &[usize] {
        &self.x_shape
    }

    fn y_shape(&self) -> &[usize] {
        &self.y_shape
    }

    /// # Errors
    /// [`Error::Data`] with the dataset's error; any error of the closure.
    fn read(&self, indices: &[usize], x: &mut [f32], y: &mut [f32]) -> Result<()> {
        check_request(indices, self.len(), &self.x_shape, x.len())?;
        check_request(indices, self.len(), &self.y_shape, y.len())?;
        let items = self.dataset.get_many(indices.to_vec());
        let items = items.map_err(|error| Error::data("the Burn dataset", "the items of a batch", chain(&error)))?;
        if items.len() != indices.len() {
            return Err(Error::data("the Burn dataset", format!("{} items", indices.len()), items.len()));
        }
        let (wide, narrow) = (x.len() / items.len().max(1), y.len() / items.len().max(1));
        x.fill(0.0);
        y.fill(0.0);
        for (row, item) in items.into_iter().enumerate() {
            (self.write)(item, &mut x[row * wide..][..wide], &mut y[row * narrow..][..narrow])?;
        }
        Ok(())
    }
}

/// An error with its chain of causes.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // `DatasetError` already includes the text of its cause.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// An input and its target: the item type of Brasa's data as a Burn dataset.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// The input's values in row-major order.
    pub x: Vec<f32>,
    /// The target's values.
    pub y: Vec<f32>,
}

/// Any [`Source`] as a Burn dataset of [`Sample`]s, for Burn's `DataLoader` and transforms.
///
/// [`Dataset`], [`ImageFolder`], [`NpySource`] and their [`Part`]s are Burn datasets themselves.
///
/// ```
/// use brasa::burn::data::dataloader::{DataLoaderBuilder, batcher::Batcher};
/// use brasa::burn::tensor::{Device, Tensor, TensorData};
/// use brasa::datasets::{Dataset, Sample};
///
/// struct Rows;
///
/// impl Batcher<Sample, (Tensor<2>, Tensor<1>)> for Rows {
///     fn batch(&self, items: Vec<Sample>, device: &Device) -> (Tensor<2>, Tensor<1>) {
///         let rows = items.len();
///         let x: Vec<f32> = items.iter().flat_map(|item| item.x.clone()).collect();
///         let y: Vec<f32> = items.iter().flat_map(|item| item.y.clone()).collect();
///         let width = x.len() / rows;
///         let x = Tensor::from_data(TensorData::new(x, [rows, width]), device);
///         (x, Tensor::from_data(TensorData::new(y, [rows]), device))
///     }
/// }
///
/// let xor = Dataset::new(ndarray::array![[0, 0], [0, 1], [1, 0], [1, 1]], vec![0, 1, 1, 0])?;
/// let loader = DataLoaderBuilder::new(Rows).batch_size(3).shuffle(1).build(xor);
/// let sizes: Vec<_> = loader.iter().map(|batch| batch.unwrap().0.dims()).collect();
/// assert_eq!(sizes, [[3, 2], [1, 2]]);
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ToBurn<S>(pub S);

/// The samples at `indices`, in one read.
fn samples<S: Source + ?Sized>(source: &S, indices: &[usize]) -> Result<Vec<Sample>, DatasetError> {
    let fields = [source.x_fields().len(), source.y_fields().len()];
    if fields != [1, 1] {
        let received = format!("{} and {}", fields[0], fields[1]);
        return Err(DatasetError::new(Error::data("a Burn dataset", "one input and one target", received)));
    }
    let length = |shape: &[usize]| {
        let width = count_of(shape)?;
        width.checked_mul(indices.len()).map(|length| (width, length))
    };
    let (Some((wide, x)), Some((narrow, y))) = (length(source.x_shape()), length(source.y_shape())) else {
        let received = format!("{} of {:?} and {:?}", indices.len(), source.x_shape(), source.y_shape());
        return Err(DatasetError::new(Error::data("samples", "as many as fit in memory", received)));
    };
    let (mut x, mut y) = (vec![0.0; x], vec![0.0; y]);
    source.read(indices, &mut x, &mut y).map_err(DatasetError::new)?;
    let rows = |values: &[f32], width: usize, row: usize| values[row * width..][..width].to_vec();
    Ok((0..indices.len()).map(|row| Sample { x: rows(&x, wide, row), y: rows(&y, narrow, row) }).collect())
}

/// Implements Burn's `Dataset` for a source or a type that holds one. An index out of range is an error here; Burn's
/// own datasets panic.
macro_rules! burn_dataset {
    ([$($parameter:ident)?] $type:ty, |$own:ident| $source:expr) => {
        impl<$($parameter: Source)?> BurnDataset<Sample> for $type {
            fn get(&self, index: usize) -> Result<Sample, DatasetError> {
                let $own = self;
                samples($source, &[index]).map(|mut samples| samples.pop().unwrap_or_default())
            }

            fn get_many(&self, indices: Vec<usize>) -> Result<Vec<Sample>, DatasetError> {
                let $own = self;
                samples($source, &indices)
            }

            fn len(&self) -> usize {
                let $own = self;
                Source::len($source)
            }
        }
    };
}
burn_dataset!([] Dataset, |own| own);
#[cfg(feature = "images")]
burn_dataset!([] ImageFolder, |own| own);
burn_dataset!([] NpySource, |own| own);
burn_dataset!([S] Part<S>, |own| own);
burn_dataset!([S] ToBurn<S>, |own| &own.0);

#[cfg(test)]
mod tests {
    use burn_dataset::InMemDataset;
    use burn_dataset::transform::{ComposedDataset, Mapper, MapperDataset, PartialDataset, ShuffledDataset};

    use super::*;
    use crate::prelude::{Adam, Compile, Dense, Fit, LayerArguments, Sequential, Verbosity};

    fn items(n: u8) -> InMemDataset<(u8, u8)> {
        InMemDataset::new((0..n).map(|i| (i, i % 3)).collect())
    }

    fn write((input, label): (u8, u8), x: &mut [f32], y: &mut [f32]) -> Result<()> {
        x.copy_from_slice(&[f32::from(input) / 10.0, 1.0]);
        y[0] = f32::from(label);
        Ok(())
    }

    #[test]
    fn items_are_written_where_they_belong() {
        let source = FromBurn::new(items(5), [2], [], write);
        assert_eq!((source.len(), source.x_shape(), source.y_shape()), (5, &[2][..], &[][..]));
        let (mut x, mut y) = ([9.0; 4], [9.0; 2]);
        source.read(&[4, 0], &mut x, &mut y).unwrap();
        assert_eq!((x, y), ([0.4, 1.0, 0.0, 1.0], [1.0, 0.0]));
        assert!(matches!(source.read(&[5], &mut x[..2], &mut y[..1]), Err(Error::Argument { .. })));
        assert!(matches!(source.read(&[0], &mut x, &mut y[..1]), Err(Error::Shape { .. })));
        source.read(&[], &mut [], &mut []).unwrap();
        // Values that the closure does not write stay 0.
        let half = FromBurn::new(items(5), [2], [], |(input, _): (u8, u8), x, _| {
            x[1] = f32::from(input);
            Ok(())
        });
        half.read(&[3], &mut x[..2], &mut y[..1]).unwrap();
        assert_eq!((x[..2].to_vec(), y[0]), (vec![0.0, 3.0], 0.0));
    }

    /// Fails at one index, with an error of its own.
    struct Fails;

    #[derive(Debug)]
    struct Missing(std::io::Error);

    impl fmt::Display for Missing {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("row 2 cannot be read")
        }
    }

    impl StdError for Missing {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    impl BurnDataset<u8, Missing> for Fails {
        fn get(&self, index: usize) -> Result<u8, Missing> {
            if index == 2 { Err(Missing(std::io::Error::other("disk on fire"))) } else { Ok(0) }
        }

        fn len(&self) -> usize {
            4
        }
    }

    #[test]
    fn errors_are_passed_on() {
        let source = FromBurn::new(Fails, [1], [1], |_: u8, _, _| Ok(()));
        source.read(&[0, 3], &mut [0.0; 2], &mut [0.0; 2]).unwrap();
        let error = source.read(&[2], &mut [0.0], &mut [0.0]).unwrap_err().to_string();
        assert!(error.contains("row 2 cannot be read: disk on fire"), "{error}");
        let refuses = FromBurn::new(items(3), [1], [], |(input, _): (u8, u8), _, _| match input {
            1 => Err(Error::data("item", "an even number", input)),
            _ => Ok(()),
        });
        let error = refuses.read(&[0, 1], &mut [0.0; 2], &mut [0.0; 2]).unwrap_err().to_string();
        assert_eq!(error, "data: item: expected an even number, received 1");
    }

    struct Tenth;

    impl Mapper<(u8, u8), (u8, u8)> for Tenth {
        fn map(&self, item: &(u8, u8)) -> (u8, u8) {
            (item.0 * 2, item.1)
        }
    }

    #[test]
    fn transforms_are_sources() {
        let read = |source: &dyn Source| {
            let (mut x, mut y) = (vec![0.0; source.len() * 2], vec![0.0; source.len()]);
            source.read(&(0..source.len()).collect::<Vec<_>>(), &mut x, &mut y).unwrap();
            (x.into_iter().step_by(2).map(|x| (x * 10.0).round() as u8).collect::<Vec<_>>(), y)
        };
        let mapped = FromBurn::new(MapperDataset::new(items(4), Tenth), [2], [], write);
        assert_eq!(read(&mapped).0, [0, 2, 4, 6]);
        let part = FromBurn::new(PartialDataset::new(items(9), 2, 5), [2], [], write);
        assert_eq!(read(&part), (vec![2, 3, 4], vec![2.0, 0.0, 1.0]));
        let both = FromBurn::new(ComposedDataset::new(vec![items(2), items(3)]), [2], [], write);
        assert_eq!(read(&both).0, [0, 1, 0, 1, 2]);
        let shuffled = FromBurn::new(ShuffledDataset::new(items(9), 7), [2], [], write);
        let mut order = read(&shuffled).0;
        assert_ne!(order, (0..9).collect::<Vec<u8>>());
        order.sort_unstable();
        assert_eq!(order, (0..9).collect::<Vec<u8>>());
    }

    #[test]
    fn it_trains_as_the_same_numbers_in_memory_do() {
        let x: Vec<f32> = (0..30_u8).flat_map(|i| [f32::from(i) / 10.0, 1.0]).collect();
        let x = crate::datasets::Samples::new([30, 2], x).unwrap();
        let memory = Dataset::new(x, (0..30).map(|i| i % 3).collect::<Vec<i32>>()).unwrap();
        let burn = FromBurn::new(items(30), [2], [], write);
        let mut model = Sequential::new().with_seed(1);
        model.add(Dense::new(3).activation("softmax").input_shape(2)).unwrap();
        model.compile(Compile::new(Adam::new(0.1), "sparse_categorical_crossentropy")).unwrap();
        let mut other = model.clone();
        let fit = || Fit::new().epochs(3).batch_size(4).validation_split(0.2).seed(5).verbose(Verbosity::Silent);
        let (one, two) = (model.fit(&memory, fit()).unwrap(), other.fit(&burn, fit()).unwrap());
        assert_eq!(one.history, two.history);
        assert_eq!(model.get_weights().unwrap(), other.get_weights().unwrap());
        assert_eq!(model.evaluate(&memory).unwrap(), other.evaluate(&burn).unwrap());
    }

    #[test]
    fn a_source_is_a_burn_dataset() {
        let data = Dataset::new(vec![1_u8, 2, 3, 4], vec![10, 20, 30, 40]).unwrap();
        let sample = |x: f32| Sample { x: vec![x], y: vec![10.0 * x] };
        assert_eq!(BurnDataset::get(&data, 2).unwrap(), sample(3.0));
        assert_eq!(data.get_many(vec![3, 0]).unwrap(), [sample(4.0), sample(1.0)]);
        assert!(data.get_many(vec![4]).is_err());
        // Burn's transforms and Brasa's parts give the same samples.
        let (_, part) = Part::split(data.clone(), 0.5).unwrap();
        let partial = PartialDataset::new(ToBurn(Box::new(data) as Box<dyn Source>), 2, 4);
        let all = |dataset: &dyn BurnDataset<Sample>| dataset.get_many((0..dataset.len()).collect()).unwrap();
        assert_eq!(all(&part), all(&partial));
        assert_eq!(all(&part), [sample(3.0), sample(4.0)]);
    }
}
