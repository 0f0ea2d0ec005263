//! Shards in object stores: one in memory, one in a folder.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use brasa::Result;
use brasa::datasets::object_store::local::LocalFileSystem;
use brasa::datasets::object_store::memory::InMemory;
use brasa::datasets::object_store::{ObjectStore, ObjectStoreExt};
use brasa::datasets::{Csv, Shards, save_npz};
use brasa::ndarray::Array;
use brasa::prelude::*;

/// The result of what needs no waiting.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("a store in memory has its objects at hand"),
    }
}

fn store(objects: &[(&str, Vec<u8>)]) -> Arc<dyn ObjectStore> {
    let store = InMemory::new();
    for (name, bytes) in objects {
        now(store.put(&(*name).into(), bytes.clone().into())).unwrap();
    }
    Arc::new(store)
}

/// Three archives of arrays of ten samples each, the targets counted up.
fn arrays() -> (tempfile::TempDir, Vec<(String, Vec<u8>)>) {
    let folder = tempfile::tempdir().unwrap();
    let objects = (0..3).map(|shard| {
        let name = format!("train-{shard}.npz");
        let x = Array::from_shape_fn((10, 2), |(row, column)| ((shard * 10 + row) % (3 + column)) as f32).into_dyn();
        let y = Array::from_shape_fn(10, |row| (shard * 10 + row) as f32).into_dyn();
        save_npz(folder.path().join(&name), [("x", &x), ("y", &y)]).unwrap();
        (name.clone(), std::fs::read(folder.path().join(name)).unwrap())
    });
    let objects = objects.collect();
    (folder, objects)
}

/// The targets of a pass, sorted.
fn targets(shards: &Shards) -> Result<Vec<f32>> {
    let mut all = Vec::new();
    for batch in shards.batches(0, 0, 1)? {
        all.extend(batch?.y().to_vec_f32());
    }
    all.sort_by(f32::total_cmp);
    Ok(all)
}

#[test]
fn objects_are_shards() -> Result<()> {
    let (folder, objects) = arrays();
    let wanted: Vec<f32> = (0..30).map(|number| number as f32).collect();
    let objects: Vec<(String, Vec<u8>)> =
        objects.into_iter().map(|(name, bytes)| (format!("data/{name}"), bytes)).collect();
    let objects: Vec<(&str, Vec<u8>)> = objects.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let memory = store(&objects);
    let shards = Shards::in_store(memory.clone(), "data/train-*.npz")?.batch_size(4);
    assert_eq!(shards.files(), ["data/train-0.npz", "data/train-1.npz", "data/train-2.npz"]);
    assert_eq!(targets(&shards)?, wanted);
    assert_eq!(targets(&Shards::in_store(memory.clone(), "data/train-{0..2}.npz")?)?, wanted);
    let files = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    assert_eq!(targets(&Shards::in_store(files, "train-*.npz")?)?, wanted);
    let address = format!("file://{}/train-*.npz", folder.path().display());
    assert_eq!(targets(&Shards::open(&address)?)?, wanted);

    // The order does not depend on where the files are.
    let train = |shards: Shards| -> Result<Vec<f64>> {
        let mut model = Sequential::new().with_seed(1);
        model.add(Dense::new(1).input_shape(2))?.compile(Compile::new("adam", "mse"))?;
        let fit = Fit::new().epochs(2).verbose(Verbosity::Silent);
        Ok(model.fit_stream(&shards.batch_size(4).stream()?, fit)?.history["loss"].clone())
    };
    assert_eq!(train(shards)?, train(Shards::open(folder.path().join("train-*.npz"))?)?);

    for pattern in ["data/test-*.npz", "data/test-0.npz", "*/train-0.npz"] {
        assert!(Shards::in_store(memory.clone(), pattern).is_err(), "{pattern}");
    }
    Ok(())
}

#[test]
fn damaged_objects_are_errors_that_name_them() -> Result<()> {
    let objects = [
        ("a/cut.tar", vec![1; 700]),
        ("a/cut.npz", vec![1; 700]),
        ("a/rows.csv", b"size,price\n1,2\n3,many\n4,5\n".to_vec()),
        ("a/fine.csv", b"size,price\n1,2\n3,4\n".to_vec()),
    ];
    let memory = store(&objects);
    for name in ["a/cut.tar", "a/cut.npz", "a/rows.csv"] {
        let error = Shards::in_store(memory.clone(), name)?.load().unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    let table = Shards::in_store(memory, "a/fine.csv")?.table(Csv::new().target("price")).load()?;
    assert_eq!(table.y().to_vec_f32(), [2.0, 4.0]);
    Ok(())
}
