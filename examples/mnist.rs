//! The notebook from beginning to end: `cargo run --example mnist`.

use brasa::prelude::*;

fn main() -> brasa::Result<()> {
    let (train, test) = datasets::mnist::load()?;

    let mut model = Sequential::new().with_seed(42);
    model.add(Conv2D::new(32, (5, 5)).activation("relu").input_shape((28, 28, 1)))?;
    model.add(MaxPooling2D::new((2, 2)))?;
    println!("{}", model.summary());

    model
        .add(Conv2D::new(64, (5, 5)).activation("relu"))?
        .add(MaxPooling2D::new((2, 2)))?
        .add(Flatten::new())?
        .add(Dense::new(10).activation("softmax"))?;
    println!("{}", model.summary());

    model.compile(Compile::new(Adam::new(1e-3), "sparse_categorical_crossentropy").metrics(["accuracy"]))?;
    let history = model.fit(&train, Fit::new().epochs(5).batch_size(128).validation_split(0.1))?;
    println!("{:.0} images a second", history.samples_per_second);

    let scores = model.evaluate(&test)?;
    let accuracy = scores.get("accuracy").unwrap_or_default();
    println!("test accuracy {:.2} %", 100.0 * accuracy);
    // The example checks its own result.
    assert!(accuracy > 0.985, "the notebook's network reaches more than 98.5 %");
    Ok(())
}
