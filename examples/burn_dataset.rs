//! The notebook's network, trained from a Burn dataset: `cargo run --example burn_dataset`.
//!
//! Here the digits are items in memory. An SQLite database, a data frame, or a data set downloaded by `burn_dataset`
//! works in the same way: with a closure that writes an item into an input and a target.

use brasa::burn::data::dataset::{
    InMemDataset,
    transform::{PartialDataset, ShuffledDataset},
};
use brasa::datasets::{FromBurn, Sample, ToBurn};
use brasa::prelude::*;

/// A digit as represented in other code.
#[derive(Clone, Debug)]
struct Digit {
    pixels: Vec<u8>,
    label: u8,
}

fn write(digit: Digit, x: &mut [f32], y: &mut [f32]) -> brasa::Result<()> {
    x.iter_mut().zip(&digit.pixels).for_each(|(x, pixel)| *x = f32::from(*pixel) / 255.0);
    y[0] = f32::from(digit.label);
    Ok(())
}

fn main() -> brasa::Result<()> {
    let (train, test) = datasets::mnist::load()?;
    // Brasa's data sets are Burn datasets, so Burn's transforms apply to them, and items can be created from them.
    let digit = |sample: Sample| Digit {
        pixels: sample.x.iter().map(|value| (value * 255.0).round() as u8).collect(),
        label: sample.y[0] as u8,
    };
    let all = PartialDataset::new(ToBurn(train.clone()), 0, 12_000);
    let digits = brasa::burn::data::dataset::Dataset::iter(&all).map(|sample| sample.map(digit));
    let digits: Vec<Digit> = digits.collect::<Result<_, _>>().expect("samples in memory can be read");

    let shuffled = FromBurn::new(ShuffledDataset::new(InMemDataset::new(digits), 42), [28, 28, 1], [], write);

    let mut model = Sequential::new().with_seed(42);
    model.add(Conv2D::new(32, (5, 5)).activation("relu").input_shape((28, 28, 1)))?;
    model
        .add(MaxPooling2D::new((2, 2)))?
        .add(Conv2D::new(64, (5, 5)).activation("relu"))?
        .add(MaxPooling2D::new((2, 2)))?
        .add(Flatten::new())?
        .add(Dense::new(10).activation("softmax"))?;
    model.compile(Compile::new(Adam::new(1e-3), "sparse_categorical_crossentropy").metrics(["accuracy"]))?;
    let history = model.fit(&shuffled, Fit::new().epochs(2).batch_size(64).validation_split(0.1))?;
    println!("{:.0} images a second", history.samples_per_second);

    let scores = model.evaluate(&test)?;
    let accuracy = scores.get("accuracy").unwrap_or_default();
    println!("test accuracy {:.2} %", 100.0 * accuracy);
    // The example checks its own result.
    assert!(accuracy > 0.95, "a fifth of the digits, seen twice, give more than 95 %");

    // The same test images through Burn's items give the same bits.
    let images = brasa::burn::data::dataset::Dataset::iter(&test).map(|sample| sample.map(digit));
    let images: Vec<Digit> = images.collect::<Result<_, _>>().expect("samples in memory can be read");
    let again = model.evaluate(&FromBurn::new(InMemDataset::new(images), [28, 28, 1], [], write))?;
    assert_eq!(scores, again);
    Ok(())
}
