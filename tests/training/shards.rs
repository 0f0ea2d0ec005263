//! Training on shards, alone and by several ranks.

use std::path::Path;
use std::sync::Arc;

use brasa::callbacks::LambdaCallback;
use brasa::datasets::{Csv, PixelRange, ReadImage, Samples, Shards, Stream, save_npy, save_npz};
use brasa::distributed::{Communicator, threads};
use brasa::ndarray::{Array, Array2};
use brasa::prelude::*;
use brasa::training::{Checkpoint, CheckpointFreq, History, StopHandle};
use brasa::{Error, Result};

use crate::resume::stop_after;
use crate::support::outcome;

/// A tar archive of files, as `tar --format=ustar` writes it.
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in members {
        bytes.extend(header(name, content.len() as u64, b'0'));
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// The header of a member.
fn header(name: &str, size: u64, kind: u8) -> [u8; 512] {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[148..156].fill(b' ');
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// The bytes of an `.npy` file of two numbers.
fn pair(numbers: [f32; 2]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = brasa::datasets::NpyWriter::new(&mut bytes, "x.npy", &[2]).unwrap();
    writer.write(&numbers).unwrap();
    writer.finish().unwrap();
    bytes
}

/// Archives with so many samples each: two numbers that begin with the number of the sample, and a number from 0 to 2.
fn archives(folder: &Path, counts: &[usize]) -> Shards {
    let mut number = 0;
    for (shard, count) in counts.iter().enumerate() {
        let mut members = Vec::new();
        for _ in 0..*count {
            let value = number as f32;
            members.push((format!("{number:04}.npy"), pair([value, (value * 0.7).sin()])));
            members.push((format!("{number:04}.cls"), (number % 3).to_string().into_bytes()));
            number += 1;
        }
        let members: Vec<(&str, &[u8])> = members.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
        std::fs::write(folder.join(format!("train-{shard:02}.tar")), tar(&members)).unwrap();
    }
    Shards::open(folder.join("train-*.tar")).unwrap().seed(7)
}

/// The numbers of the samples of a pass, in order.
fn numbers(shards: &Shards, pass: usize, rank: usize, ranks: usize) -> Vec<usize> {
    let batches = shards.batches(pass, rank, ranks).unwrap();
    batches
        .flat_map(|batch| batch.unwrap().x().to_vec_f32().chunks(2).map(|x| x[0] as usize).collect::<Vec<_>>())
        .collect()
}

fn model() -> Sequential {
    let mut model = Sequential::new().with_seed(3);
    model.add(Rescaling::new(0.02).input_shape(2)).unwrap();
    model.add(Dense::new(5).activation("tanh")).unwrap();
    model.add(Dropout::new(0.2)).unwrap();
    model.add(Dense::new(3).kernel_regularizer("l2").activation("softmax")).unwrap();
    model.compile(Compile::new(Adam::new(0.01), "sparse_categorical_crossentropy").metrics(["accuracy"])).unwrap();
    model
}

fn fit<'a>(epochs: usize) -> Fit<'a> {
    Fit::new().epochs(epochs).seed(5).verbose(Verbosity::Silent)
}

/// The communicator of a rank.
type Rank = Arc<dyn Communicator>;

fn on_ranks<T: Send>(size: usize, work: impl Fn(Rank) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let ranks: Vec<_> = threads(size).into_iter().map(|rank| scope.spawn(move || work(rank))).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

fn bits(model: &Model) -> Vec<u32> {
    model.get_weights().unwrap().iter().flat_map(|weight| weight.iter().map(|number| number.to_bits())).collect()
}

fn assert_close(history: &History, wanted: &History) {
    assert_eq!(history.epoch, wanted.epoch);
    for (name, values) in &wanted.history {
        for (got, wanted) in history.history[name].iter().zip(values) {
            assert!((got - wanted).abs() < 1e-5, "{name}: {got}, alone {wanted}");
        }
    }
}

#[test]
fn the_order_is_a_function_of_seed_pass_and_rank() {
    let folder = tempfile::tempdir().unwrap();
    let shards = archives(folder.path(), &[9, 4, 7, 1, 6]).batch_size(4).shuffle_buffer(5);
    let first = numbers(&shards, 0, 0, 1);
    assert_eq!(first, numbers(&shards, 0, 0, 1));
    assert_ne!(first, numbers(&shards, 1, 0, 1));
    assert_ne!(first, numbers(&shards.clone().seed(8), 0, 0, 1));
    assert_ne!(first, numbers(&shards.clone().shuffle_buffer(1), 0, 0, 1));
    assert_eq!(numbers(&shards.clone().shuffle(false), 3, 0, 1), (0..27).collect::<Vec<_>>());
    let sizes: Vec<usize> = shards.batches(0, 0, 1).unwrap().map(|batch| batch.unwrap().len()).collect();
    assert_eq!(sizes, [4, 4, 4, 4, 4, 4, 3]);
    // The ranks of a batch of 4: one sample and two, or one, one and two.
    for ranks in [1, 2, 3] {
        for pass in [0, 1] {
            let mut all: Vec<usize> = (0..ranks).flat_map(|rank| numbers(&shards, pass, rank, ranks)).collect();
            all.sort_unstable();
            assert_eq!(all, (0..27).collect::<Vec<_>>(), "{ranks} ranks, pass {pass}");
        }
    }
    let loaded = shards.load().unwrap();
    assert_eq!(
        (loaded.len(), loaded.y().dtype(), loaded.y().to_vec_f32()[..4].to_vec()),
        (27, "int64", vec![0.0, 1.0, 2.0, 0.0])
    );
    assert_eq!(shards.first(5).unwrap().len(), 5);
}

#[test]
fn fewer_shards_than_ranks_are_shared_by_sample() {
    let folder = tempfile::tempdir().unwrap();
    let shards = archives(folder.path(), &[8, 5]).batch_size(6);
    let parts: Vec<Vec<usize>> = (0..3).map(|rank| numbers(&shards, 0, rank, 3)).collect();
    assert!(parts.iter().all(|part| (4..=5).contains(&part.len())), "{parts:?}");
    let mut all = parts.concat();
    all.sort_unstable();
    assert_eq!(all, (0..13).collect::<Vec<_>>());
}

#[test]
fn arrays_and_tables_are_shards_too() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: String| folder.path().join(name);
    for shard in 0..3 {
        let x = Array2::from_shape_fn((4, 2), |(row, column)| (shard * 4 + row + column * 100) as f32).into_dyn();
        let y = Array::from_shape_fn(4, |row| (shard * 4 + row) as f32).into_dyn();
        let weights = y.mapv(|y| y + 0.5);
        save_npz(path(format!("a-{shard}.npz")), [("x", &x), ("y", &y), ("sample_weight", &weights)])?;
        save_npy(path(format!("x-{shard}.npy")), &[4, 2], &x.iter().copied().collect::<Vec<_>>())?;
        save_npy(path(format!("y-{shard}.npy")), &[4], &y.iter().copied().collect::<Vec<_>>())?;
        let rows: String = (0..4)
            .map(|row| format!("{},{},{}\n", ["red", "blue"][row % 2], row + shard, ["no", "yes"][row / 2]))
            .collect();
        std::fs::write(path(format!("t-{shard}.csv")), format!("colour,size,sold\n{rows}")).unwrap();
    }
    let arrays = Shards::open(path("a-*.npz".into()))?;
    let data = arrays.load()?;
    assert_eq!((data.len(), data.sample_weight().unwrap().to_vec_f32()[11]), (12, 11.5));
    let mut seen: Vec<f32> = Vec::new();
    for batch in arrays.batches(0, 0, 1)? {
        seen.extend(batch?.y().to_vec_f32());
    }
    assert_ne!(seen, data.y().to_vec_f32());
    seen.sort_by(f32::total_cmp);
    assert_eq!(seen, data.y().to_vec_f32());
    let pairs = Shards::npy(path("x-*.npy".into()), path("y-*.npy".into()))?;
    assert_eq!(pairs.load()?.x().to_vec_f32(), data.x().to_vec_f32());
    assert!(Shards::npy(path("x-*.npy".into()), path("y-{0..1}.npy".into())).is_err());
    let tables = Shards::open(path("t-{0..2}.csv".into()))?.table(Csv::new().target("sold"));
    let info = tables.info()?;
    assert_eq!(info.class_names, ["no", "yes"]);
    assert_eq!(info.table.unwrap().input_names(), ["colour=blue", "colour=red", "size"]);
    assert_eq!(tables.load()?.x().to_vec_f32()[33..], [1.0, 0.0, 5.0]);
    assert_eq!(tables.clone().inputs(["size"]).load()?.x().shape(), [12, 1]);
    assert!(arrays.clone().inputs(["x"]).load().unwrap_err().to_string().contains("inputs"));
    assert!(Shards::from_files([path("a-0.npz".into()), path("t-0.csv".into())]).is_err());
    assert!(Shards::open(path("none-*.tar".into())).unwrap_err().to_string().contains("none"));
    assert!(Shards::open("s4://x/y.tar").is_err());
    Ok(())
}

#[test]
fn members_become_inputs_and_targets() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let dot = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0\0\0\0\0\x04\0\0\0\
        \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x33\x33\x33\0";
    let mut bytes = Vec::new();
    // A long name, a folder, and a file of macOS.
    let long = format!("{}/000", "folder".repeat(30));
    for (name, content) in [
        ("bmp", &dot[..]),
        ("cls", b"1\n"),
        ("json", br#"{"box": [[1, 2], [3, 4.5]], "kind": "dog"}"#),
        ("txt", b"good"),
    ] {
        let name = format!("{long}.{name}\0");
        bytes.extend(header("././@LongLink", name.len() as u64, b'L'));
        bytes.extend(name.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes.extend(&tar(&[("short", content)])[..512 + content.len().next_multiple_of(512)]);
    }
    bytes.extend(header("folder/", 0, b'5'));
    bytes.extend(&tar(&[("folder/._001.bmp", b"x"), ("README", b"y")]));
    let path = folder.path().join("a.tar");
    std::fs::write(&path, &bytes).unwrap();
    let shards = Shards::open(&path)?.images(ReadImage::new((1, 1, 1)).pixels(PixelRange::ZeroTo255));
    let loaded = shards.clone().inputs(["bmp"]).load()?;
    assert_eq!(
        (loaded.x().shape(), loaded.x().to_vec_f32(), loaded.y().to_vec_f32()),
        (&[1, 1, 1, 1][..], vec![51.0], vec![1.0])
    );
    let boxes = shards.clone().inputs(["bmp"]).targets(["json:box", "json:kind"]).class_names(["cat", "dog"]);
    let boxes = boxes.load()?;
    assert_eq!((boxes.y().shape(), boxes.y().to_vec_f32()), (&[1, 2, 2][..], vec![1.0, 2.0, 3.0, 4.5]));
    assert!(shards.clone().inputs(["txt"]).load()?.x().is_text());
    // Two members can be inputs.
    let error = shards.load().unwrap_err().to_string();
    assert!(error.contains("a.tar") && error.contains("`.bmp`") && error.contains("`.txt`"), "{error}");
    let error = shards.clone().inputs(["bmp"]).class_names(["cat"]).load().unwrap_err().to_string();
    assert!(error.contains("unknown class `1`"), "{error}");
    let error = Shards::open(&path)?.inputs(["bmp"]).load().unwrap_err().to_string();
    assert!(error.contains("Shards::images"), "{error}");
    Ok(())
}

/// With headers for a long name that is not ASCII, and for a time.
#[test]
fn an_archive_that_python_wrote_is_read() -> Result<()> {
    let shards = Shards::open("tests/fixtures/data/samples.tar")?.inputs(["npy"]);
    let data = shards.load()?;
    assert_eq!(data.x().to_vec_f32(), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]);
    assert_eq!(data.y().to_vec_f32(), [0.0, 1.0, 0.0]);
    assert_eq!(shards.clone().targets(["json:label"]).load()?.y().to_vec_f32(), [0.0, 1.0, 2.0]);
    let error = shards.targets(["json:name"]).load().unwrap_err().to_string();
    assert!(error.contains("samples.tar") && error.contains("member `000.json`"), "{error}");
    Ok(())
}

#[test]
fn damaged_archives_are_errors_that_name_file_and_member() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    let good = tar(&[("0.npy", &pair([1.0, 2.0])), ("0.cls", b"1"), ("1.npy", &pair([1.0, 2.0])), ("1.cls", b"2")]);
    let message = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let shards = Shards::open(&path).unwrap();
        let error = shards.load().unwrap_err();
        // A stream reports the same.
        let streamed = shards.batches(0, 0, 1).unwrap().find_map(Result::err).unwrap();
        assert_eq!(streamed.to_string(), error.to_string());
        assert!(error.to_string().contains("a.tar"), "{error}");
        error.to_string()
    };
    std::fs::write(&path, &good).unwrap();
    assert_eq!(Shards::open(&path).unwrap().load().unwrap().len(), 2);
    for end in [100, 600, 1024, 1500, 2048, good.len() - 1024] {
        message(&good[..end]);
    }
    let mut flipped = good.clone();
    flipped[1] ^= 1;
    assert!(message(&flipped).contains("checksum"));
    // A size that the file does not have, and one that does not even fit in a number.
    for size in [1 << 20, 1 << 32] {
        let huge = [&header("0.npy", size, b'0')[..], &[0; 1024]].concat();
        let error = message(&huge);
        assert!(error.contains("0.npy") && error.contains(&size.to_string()), "{error}");
    }
    let name = [&header("x", 1 << 30, b'L')[..], &[0; 1024]].concat();
    assert!(message(&name).contains("the name of member 1"));
    let link = [&header("0.npy", 0, b'2')[..], &[0; 1024]].concat();
    assert!(message(&link).contains("a link"));
    let twice = tar(&[("0.npy", &pair([1.0, 2.0])), ("0.npy", &pair([1.0, 2.0])), ("0.cls", b"1")]);
    assert!(message(&twice).contains("a second one"));
    // Members that are missing or hold something else.
    let missing = message(&tar(&[("0.npy", &pair([1.0, 2.0])), ("0.cls", b"1"), ("1.npy", &pair([1.0, 2.0]))]));
    assert!(missing.contains("sample `1`") && missing.contains(".cls"), "{missing}");
    let word = message(&tar(&[("0.npy", &pair([1.0, 2.0])), ("0.cls", b"cat")]));
    assert!(word.contains("member `0.cls`") && word.contains("cat"), "{word}");
    let shapes = message(&tar(&[
        ("0.npy", &pair([1.0, 2.0])),
        ("0.cls", b"1"),
        ("1.npy", &pair([1.0, 2.0])),
        ("1.cls", b"2"),
        ("2.npy", &{
            let mut bytes = Vec::new();
            let mut writer = brasa::datasets::NpyWriter::new(&mut bytes, "x.npy", &[3]).unwrap();
            writer.write(&[1.0, 2.0, 3.0]).unwrap();
            writer.finish().unwrap();
            bytes
        }),
        ("2.cls", b"1"),
    ]));
    assert!(shapes.contains("sample `2`") && shapes.contains("[2]") && shapes.contains("[3]"), "{shapes}");
    let array = message(&tar(&[("0.npy", b"no array"), ("0.cls", b"1")]));
    assert!(array.contains("0.npy"), "{array}");
}

#[test]
fn a_run_on_shards_resumes_to_the_same_bits() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let shards = archives(folder.path(), &[9, 4, 7, 8]).batch_size(4).shuffle_buffer(6);
    for steps in [None, Some(3)] {
        let fit = |epochs| steps.into_iter().fold(fit(epochs), Fit::steps_per_epoch);
        let mut whole = model();
        let history = whole.fit_stream(&shards.stream()?, fit(4))?;
        for (epoch, batch) in [(0, 2), (1, 0), (3, 1)] {
            let run = tempfile::tempdir().unwrap();
            let checkpoint =
                || Checkpoint::new(run.path().join("last.ckpt")).freq(CheckpointFreq::Batches(1)).resume(true);
            let handle = StopHandle::new();
            let cut = fit(4).checkpoint(checkpoint()).stop_handle(&handle);
            let cut = cut.callback(stop_after(handle.clone(), epoch, batch));
            assert!(model().fit_stream(&shards.stream()?, cut)?.interrupted);
            // Another order is other data.
            let other = shards.clone().seed(9).stream()?;
            let error = model().fit_stream(&other, fit(4).checkpoint(checkpoint())).unwrap_err().to_string();
            assert!(error.contains("the training data"), "{error}");
            let mut resumed = model();
            let own = resumed.fit_stream(&shards.stream()?, fit(4).checkpoint(checkpoint()))?;
            assert_eq!(outcome(&resumed, &own), outcome(&whole, &history), "{steps:?} {epoch} {batch}");
        }
    }
    Ok(())
}

/// The batches of all ranks in one, as long as any has some.
fn united<'a>(shards: &'a Shards, ranks: usize) -> Stream<'a> {
    Stream::new(move |pass| {
        let mut parts: Vec<_> = (0..ranks).map(|rank| shards.batches(pass, rank, ranks).unwrap()).collect();
        std::iter::from_fn(move || {
            let batches: Vec<Dataset> = parts.iter_mut().filter_map(Iterator::next).collect::<Result<_>>().unwrap();
            if batches.is_empty() {
                return None;
            }
            let all =
                |part: fn(&Dataset) -> Samples| batches.iter().flat_map(|b| part(b).to_vec_f32()).collect::<Vec<f32>>();
            let y = all(Dataset::y);
            let x = Array2::from_shape_vec((y.len(), 2), all(Dataset::x)).unwrap();
            Some(Dataset::new(&x, y))
        })
    })
}

#[test]
fn ranks_train_on_their_shards_as_one_process_on_all_of_them() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    // One rank has far more samples than the others, and runs out last.
    let shards = archives(folder.path(), &[9, 4, 17, 8, 1, 2]).batch_size(6).shuffle_buffer(5);
    for steps in [None, Some(3)] {
        let fit = |epochs| steps.into_iter().fold(fit(epochs), Fit::steps_per_epoch);
        for ranks in [2, 3] {
            let mut alone = model();
            let wanted = alone.fit_stream(&united(&shards, ranks), fit(4))?;
            let runs = on_ranks(ranks, |rank| {
                let mut model = model();
                let history = model.fit_stream(&shards.stream().unwrap(), fit(4).distributed(rank)).unwrap();
                (bits(&model), history)
            });
            for (weights, history) in &runs {
                assert_close(history, &wanted);
                assert_eq!(weights, &runs[0].0, "{ranks} ranks have the same weights");
            }
        }
    }
    Ok(())
}

#[test]
fn ranks_resume_in_the_middle_of_a_pass() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let shards = archives(folder.path(), &[9, 4, 17, 8]).batch_size(6).shuffle_buffer(5);
    for steps in [None, Some(3)] {
        let fit = |epochs| steps.into_iter().fold(fit(epochs), Fit::steps_per_epoch);
        let whole = on_ranks(2, |rank| {
            let mut model = model();
            model.fit_stream(&shards.stream().unwrap(), fit(4).distributed(rank)).unwrap();
            bits(&model)
        });
        for (epoch, batch) in [(0, 1), (1, 2), (2, 0)] {
            let run = tempfile::tempdir().unwrap();
            let checkpoint = || Checkpoint::new(run.path().join("last.ckpt")).resume(true);
            let histories = on_ranks(2, |rank| {
                let handle = StopHandle::new();
                let stopping = handle.clone();
                let is_last = rank.rank() == 1;
                let stop = LambdaCallback::new().on_train_batch_end(move |context, done| {
                    if is_last && (context.params().epoch, done) == (epoch, batch) {
                        stopping.stop();
                    }
                    Ok(())
                });
                let cut = fit(4).checkpoint(checkpoint()).stop_handle(&handle).callback(stop).distributed(rank);
                model().fit_stream(&shards.stream().unwrap(), cut).unwrap()
            });
            assert!(histories.iter().all(|history| history.interrupted));
            // Not by another number of ranks: each has batches of its own.
            let alone = model().fit_stream(&shards.stream()?, fit(4).checkpoint(checkpoint()));
            assert!(alone.unwrap_err().to_string().contains("2 ranks"));
            let resumed = on_ranks(2, |rank| {
                let mut model = model();
                let fit = fit(4).checkpoint(checkpoint()).distributed(rank);
                model.fit_stream(&shards.stream().unwrap(), fit).unwrap();
                bits(&model)
            });
            assert_eq!(resumed, whole, "{steps:?} {epoch} {batch}");
        }
    }
    Ok(())
}

#[test]
fn what_fails_on_one_rank_fails_on_all() {
    let folder = tempfile::tempdir().unwrap();
    let shards = archives(folder.path(), &[8, 8, 8, 8]).batch_size(4).shuffle(false);
    let errors = |shards: &Shards| {
        on_ranks(2, |rank| {
            let result = model().fit_stream(&shards.stream().unwrap(), fit(2).distributed(rank));
            result.unwrap_err().to_string()
        })
    };
    // The second shard of rank 1.
    let path = folder.path().join("train-03.tar");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let found = errors(&shards);
    assert!(found.iter().all(|error| error.contains("train-03.tar")), "{found:?}");
    // More ranks than samples in a batch.
    let found = errors(&shards.clone().batch_size(1));
    assert!(found.iter().all(|error| error.contains("batch_size")), "{found:?}");
    // Other settings on one rank.
    let found = on_ranks(2, |rank| {
        let shards = shards.clone().seed(rank.rank() as u64);
        model().fit_stream(&shards.stream().unwrap(), fit(2).distributed(rank)).unwrap_err().to_string()
    });
    assert!(found.iter().all(|error| error.contains("training data")), "{found:?}");
}

#[test]
fn a_synchronized_layer_needs_samples_on_each_rank() {
    let folder = tempfile::tempdir().unwrap();
    let shards = archives(folder.path(), &[8, 3]).batch_size(4).shuffle(false);
    let train = |steps: Option<usize>| {
        on_ranks(2, |rank| {
            let mut model = Sequential::new().with_seed(3);
            model.add(Dense::new(4).input_shape(2)).unwrap();
            model.add(BatchNormalization::new().synchronized(true)).unwrap();
            model.add(Dense::new(3).activation("softmax")).unwrap();
            model.compile(Compile::new("sgd", "sparse_categorical_crossentropy")).unwrap();
            let fit = steps.into_iter().fold(fit(1), Fit::steps_per_epoch);
            model.fit_stream(&shards.stream().unwrap(), fit.distributed(rank))
        })
    };
    for result in train(None) {
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::Data { .. } | Error::Rank { .. }), "{error}");
        assert!(error.to_string().contains("none on rank 1"), "{error}");
    }
    assert!(train(Some(2)).into_iter().all(|result| result.is_ok()));
}
