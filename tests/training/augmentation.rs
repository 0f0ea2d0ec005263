//! Augmentation in training: on the threads that load batches, with the same bits whatever their number.

use std::path::Path;
use std::sync::Mutex;

use brasa::datasets::IntoSamples;
use brasa::layers::{Call, Layer, Preparation};
use brasa::ndarray::{Array2, Array4, ArrayD, array};
use brasa::prelude::*;
use brasa::training::{Checkpoint, CheckpointFreq, StopHandle};
use brasa::{Error, Result, Shape, Value};

use crate::resume::stop_after;
use crate::support::outcome;

/// The first 240 images of MNIST's training data, of 28 by 28 pixels.
fn digits() -> Dataset {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mnist");
    let (train, _) = datasets::mnist::load_from(folder).unwrap();
    train.slice(..240).unwrap()
}

/// Layers in a nested model and behind it, with numbers drawn for each image and for the whole batch.
fn model() -> Result<Sequential> {
    let mut augmentation = Sequential::new();
    augmentation.add(RandomRotation::new(0.1).fill_mode("constant").input_shape((28, 28, 1)))?;
    augmentation.add(RandomTranslation::new(0.1, 0.1))?.add(RandomGaussianBlur::new().value_range((0.0, 1.0)))?;
    let mut model = Sequential::new().with_seed(4);
    model.add(Rescaling::new(0.5).input_shape((28, 28, 1)))?.add(augmentation)?;
    model.add(RandAugment::new().value_range((0.0, 1.0)))?.add(RandomCrop::new(24, 24))?;
    model.add(Conv2D::new(4, (3, 3)).activation("relu"))?.add(Dropout::new(0.2))?;
    model.add(GlobalAveragePooling2D::new())?.add(Dense::new(10).activation("softmax"))?;
    model.compile(Compile::new(Adam::new(0.01), "sparse_categorical_crossentropy").metrics(["accuracy"]))?;
    Ok(model)
}

fn fit<'a>(workers: usize) -> Fit<'a> {
    Fit::new().epochs(2).batch_size(32).seed(7).validation_split(0.1).verbose(Verbosity::Silent).workers(workers)
}

#[test]
fn an_interrupted_run_with_augmentation_ends_with_the_same_bits_on_any_number_of_threads() -> Result<()> {
    let data = digits();
    let mut whole = model()?;
    let history = whole.fit(&data, fit(1))?;
    let expected = outcome(&whole, &history);
    for workers in [1, 3, 8] {
        let mut uninterrupted = model()?;
        let history = uninterrupted.fit(&data, fit(workers))?;
        assert_eq!(outcome(&uninterrupted, &history), expected, "{workers} threads");
        for (epoch, batch) in [(0, 2), (1, 0)] {
            let folder = tempfile::tempdir().unwrap();
            let checkpoint =
                || Checkpoint::new(folder.path().join("last.ckpt")).freq(CheckpointFreq::Batches(2)).resume(true);
            let handle = StopHandle::new();
            let stop = stop_after(handle.clone(), epoch, batch);
            let cut = fit(workers).checkpoint(checkpoint()).stop_handle(&handle).callback(stop);
            assert!(model()?.fit(&data, cut)?.interrupted);
            let mut resumed = model()?;
            let history = resumed.fit(&data, fit(4 - workers.min(3)).checkpoint(checkpoint()))?;
            assert_eq!(outcome(&resumed, &history), expected, "{workers} threads, {epoch}, {batch}");
        }
    }
    // Another seed augments differently.
    let mut other = model()?;
    let history = other.fit(&data, fit(3).seed(8))?;
    assert_ne!(outcome(&other, &history), expected);
    Ok(())
}

/// The records of [`Watch`]: the name of the thread, and the first number of each image.
static SEEN: Mutex<Vec<(String, Vec<f32>)>> = Mutex::new(Vec::new());

brasa::describe! {
    /// Passes its inputs on and remembers them.
    pub layer struct Watch {
        /// Whether it prepares images.
        prepares: bool = true,
    }
}

impl Layer for Watch {
    fn preparation(&self) -> Preparation {
        if self.prepares { Preparation::Wanted } else { Preparation::None }
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        if call.training_mode() {
            let thread = std::thread::current().name().unwrap_or_default().to_owned();
            let len = input.sizes()[1..].iter().product();
            let firsts = input.clone().detach().to_vec()?.chunks(len).map(|image| image[0]).collect();
            SEEN.lock().unwrap().push((thread, firsts));
        }
        Ok(input)
    }
}

/// One test, as both parts of it use the same list.
#[test]
fn augmentation_runs_where_batches_are_loaded_and_depends_on_the_sample_alone() -> Result<()> {
    let images = Array4::from_elem((40, 4, 4, 1), 0.5f32);
    let data = Dataset::new(&images, (0..40).map(|index| index % 2).collect::<Vec<_>>())?;
    let seen = |watch: Watch, fit: Fit<'_>| -> Result<Vec<(String, Vec<f32>)>> {
        let mut model = Sequential::new().with_seed(1);
        model.add(RandomBrightness::new(0.4).value_range((0.0, 1.0)).input_shape((4, 4, 1)))?.add(watch)?;
        model.add(Flatten::new())?.add(Dense::new(2).activation("softmax"))?;
        model.compile(Compile::new("sgd", "sparse_categorical_crossentropy"))?;
        SEEN.lock().unwrap().clear();
        model.fit(&data, fit.seed(3).shuffle(false).verbose(Verbosity::Silent))?;
        Ok(std::mem::take(&mut SEEN.lock().unwrap()))
    };
    let sorted = |mut seen: Vec<(String, Vec<f32>)>| {
        let mut firsts: Vec<f32> = seen.drain(..).flat_map(|(_, firsts)| firsts).collect();
        firsts.sort_unstable_by(f32::total_cmp);
        firsts
    };
    let loaded = seen(Watch::default(), Fit::new().batch_size(10))?;
    assert!(loaded.len() == 4 && loaded.iter().all(|(thread, _)| thread.starts_with("brasa-loader-")), "{loaded:?}");
    // Other batches of the same samples: the draws are the same.
    let numbers = sorted(loaded);
    assert!(numbers.windows(2).filter(|pair| pair[0] == pair[1]).count() < 3, "each image is drawn for itself");
    assert_eq!(sorted(seen(Watch::default(), Fit::new().batch_size(7).workers(2))?), numbers);
    // A layer that is no preparation runs where the model computes, on the same images.
    let computed = seen(Watch::default().prepares(false), Fit::new().batch_size(10))?;
    assert!(computed.iter().all(|(thread, _)| !thread.starts_with("brasa-loader-")), "{computed:?}");
    assert_eq!(sorted(computed), numbers);
    // The next pass draws anew.
    let two = sorted(seen(Watch::default(), Fit::new().batch_size(10).epochs(2))?);
    assert!(two.len() == 80 && two.windows(2).filter(|pair| pair[0] == pair[1]).count() < 5);
    Ok(())
}

#[test]
fn no_and_very_many_threads_are_refused() -> Result<()> {
    for workers in [0, 100_000] {
        let error = model()?.fit(&digits(), fit(workers)).unwrap_err().to_string();
        assert!(error.contains("workers") && error.contains(&workers.to_string()), "{error}");
    }
    Ok(())
}

/// The memory of batches that are being augmented counts.
#[test]
fn augmented_batches_count_towards_the_memory_limit() -> Result<()> {
    let data = digits();
    let bytes = |workers: usize| -> Result<u64> {
        let mut model = model()?;
        model.set_memory_limit(Some(1_000_000));
        match model.fit(&data, fit(workers)).unwrap_err() {
            Error::Layer { source, .. } => match *source {
                Error::Memory { bytes, .. } => Ok(bytes),
                other => Err(other),
            },
            other => Err(other),
        }
    };
    // Each further batch has its images, and what five layers make of them.
    let images = 32 * 28 * 28 * 4;
    assert!(bytes(8)? >= bytes(3)? + 5 * 6 * images, "{} {}", bytes(8)?, bytes(3)?);
    Ok(())
}

/// Images of another size than a crop's: trained on cropped, or resized if they are smaller; in inference passed as they
/// are, as in Keras.
#[test]
fn a_crop_takes_images_of_other_sizes() -> Result<()> {
    let model = |sizes: (Option<usize>, Option<usize>, usize)| -> Result<Sequential> {
        let mut model = Sequential::new().with_seed(2);
        model.add(RandomCrop::new(6, 5).input_shape(sizes))?;
        model.add(Conv2D::new(3, (3, 3)).activation("relu"))?.add(BatchNormalization::default())?;
        model.add(GlobalAveragePooling2D::new())?.add(Dense::new(2).activation("softmax"))?;
        model.compile(Compile::new("adam", "sparse_categorical_crossentropy").metrics(["accuracy"]))?;
        Ok(model)
    };
    let images = |rows: usize, columns: usize| {
        Array4::from_shape_fn((8, rows, columns, 1), |(i, r, c, _)| ((i * 7 + r * 3 + c * 5) % 11) as f32 / 11.0)
    };
    let classes: Vec<i32> = (0..8).map(|index| index % 2).collect();
    for (rows, columns) in [(8, 9), (6, 5), (4, 9), (3, 3), (6, 9)] {
        let data = Dataset::new(images(rows, columns), &classes)?;
        let mut any = model((None, None, 1))?;
        any.fit(&data, Fit::new().validation_split(0.5).verbose(Verbosity::Silent))?;
        assert_eq!(any.output_shape()?.to_string(), "(None, 2)");
        // The same layers without the crop: in inference it does nothing.
        let mut without = Sequential::new();
        without.add(Conv2D::new(3, (3, 3)).activation("relu").input_shape((None, None, 1)))?;
        without.add(BatchNormalization::default())?.add(GlobalAveragePooling2D::new())?;
        without.add(Dense::new(2).activation("softmax"))?;
        without.set_weights(&any.get_weights()?)?;
        let x = images(rows, columns);
        let (own, expected): (ArrayD<f32>, ArrayD<f32>) = (any.predict(&x)?, without.predict(&x)?);
        assert!(own.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{rows} × {columns}");
        assert_eq!(any.predict_all(&x)?[0], own);
        assert_eq!(any.freeze()?.run(&[x.view().into_dyn()])?[0], own);
        any.evaluate(&data)?;
    }
    Ok(())
}

/// Layers that are built for cropped images refuse others, by name.
#[test]
fn layers_built_for_cropped_images_refuse_others_in_inference() -> Result<()> {
    let x = Array4::from_elem((4, 8, 8, 1), 0.5f32);
    let mut dense = Sequential::new();
    dense.add(RandomCrop::new(6, 6).input_shape((8, 8, 1)))?.add(Flatten::new())?.add(Dense::new(2))?;
    dense.compile(Compile::new("sgd", "mse"))?;
    let data = Dataset::new(&x, Array2::<f32>::zeros((4, 2)))?;
    dense.fit(&data, Fit::new().verbose(Verbosity::Silent))?;
    let mut nested = Sequential::new();
    let mut crop = Sequential::new();
    crop.add(RandomCrop::new(6, 6).input_shape((8, 8, 1)))?;
    nested.add(crop)?.add(Flatten::new())?.add(Dense::new(2))?;
    for (model, name) in [(&dense, "`dense`"), (&nested, "`dense")] {
        let error = model.predict(&x).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("36") && error.contains("64"), "{error}");
    }
    assert!(dense.evaluate(&data).is_err());
    // A convolution's output has the size of its input.
    let mut spatial = Sequential::new();
    spatial.add(RandomCrop::new(6, 6).input_shape((8, 8, 1)))?.add(Conv2D::new(1, (1, 1)))?;
    spatial.compile(Compile::new("sgd", "mse"))?;
    assert_eq!(*spatial.output_shape()?, Shape::batch_of((6, 6, 1)));
    assert_eq!(spatial.predict(&x)?.shape(), [4, 8, 8, 1]);
    let cropped = Dataset::new(&x, Array4::<f32>::zeros((4, 6, 6, 1)))?;
    spatial.fit(&cropped, Fit::new().verbose(Verbosity::Silent))?;
    let error = spatial.evaluate(&cropped).unwrap_err().to_string();
    assert!(error.contains('6') && error.contains('8'), "{error}");
    Ok(())
}

/// Images that are augmented beside another input take none of its checks away.
#[test]
fn another_input_is_still_checked_beside_augmented_images() -> Result<()> {
    let (images, numbers) = (Input::new((4, 4, 1)).symbol(), Input::new(2).symbol());
    let seen = Flatten::new().call(&RandomFlip::default().call(&images)?)?;
    let read = Flatten::new().call(&Embedding::new(10, 3).call(&Reshape::new(vec![2, 1]).call(&numbers)?)?)?;
    let mut model = Model::new([&images, &numbers], [&Dense::new(1).call(&Concatenate::new().call([&seen, &read])?)?])?;
    model.compile(Compile::new("sgd", "mse"))?;
    let fit = |last: f32| -> Result<String> {
        let x = Array4::from_elem((3, 4, 4, 1), 0.5f32);
        let numbers = array![[1.0f32, 2.0], [3.0, 4.0], [5.0, last]];
        let data = Dataset::new([x.into_samples()?, numbers.into_samples()?], vec![0.0f32; 3])?;
        let fitted = model.clone().fit(&data, Fit::new().verbose(Verbosity::Silent));
        Ok(fitted.map_or_else(|error| error.to_string(), |_| "trained".to_owned()))
    };
    assert_eq!(fit(9.0)?, "trained");
    let error = fit(10.0)?;
    assert!(error.contains("Embedding") && error.contains("from 0 to 9"), "{error}");
    Ok(())
}
