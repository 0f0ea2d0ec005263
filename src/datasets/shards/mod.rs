//! Shards: samples in many files, for data that no machine holds.

mod archive;
mod decode;
mod location;
mod pass;
mod pattern;
mod reader;
#[cfg(feature = "object-store")]
mod remote;
mod sample;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "object-store")]
pub use object_store;

use self::decode::Decoder;
use self::location::Location;
use self::pass::{Order, Pass};
use self::reader::{Format, Known, Reader, Shard};
use self::sample::{Raw, Sink};
use super::{Batches, Csv, DataInfo, Dataset, Fingerprint, ReadImage, Stream, check_class_names};
use crate::error::{Error, Result};
use crate::memory::check_room;

/// The samples of the shuffle buffer unless another number is given.
const BUFFER: usize = 1024;

/// The samples that are decoded together where a shard is read into memory.
const TOGETHER: usize = 1024;

/// Samples in many files of one format, for data that no machine holds.
///
/// | format | a sample | inputs and targets |
/// | --- | --- | --- |
/// | `.npz` | a row of the arrays | the arrays as in [`load_npz`](super::load_npz), those to train on |
/// | `.npy`, in pairs ([`npy`](Self::npy)) | a row of both arrays | one file of inputs, one of targets |
/// | `.tar`, `.tar.gz` | members `KEY.NAME` with one key, one after another, as WebDataset writes them | members by the rest of their names ([`inputs`](Self::inputs), [`targets`](Self::targets)) |
/// | `.csv`, `.tsv`, `.parquet` (cargo feature `parquet`) | a row | columns ([`table`](Self::table)) |
///
/// They are read one after another, and trained on as a [`Stream`]: in each pass the files are shuffled, their samples go
/// through a buffer of [`shuffle_buffer`](Self::shuffle_buffer) samples, out of which they are drawn. The order depends on
/// [`seed`](Self::seed), pass and rank alone. In memory are the buffer, the batches that are loaded ahead and, except of
/// archives, one file. A thread reads ahead, others decode.
///
/// In [distributed](crate::distributed) training each rank reads files of its own, or, where there are fewer files than
/// ranks, each takes other samples of them.
///
/// ```
/// use brasa::datasets::{Shards, save_npz};
/// use brasa::prelude::*;
///
/// let folder = tempfile::tempdir().unwrap();
/// for shard in 0..4 {
///     let x = ndarray::Array::from_shape_fn((50, 2), |(row, column)| ((shard * 50 + row) % (3 + column)) as f32);
///     let y = x.sum_axis(ndarray::Axis(1));
///     let path = folder.path().join(format!("train-{shard}.npz"));
///     save_npz(path, [("x", &x.into_dyn()), ("y", &y.into_dyn())])?;
/// }
/// let shards = Shards::open(folder.path().join("train-*.npz"))?.batch_size(20).shuffle_buffer(100).seed(1);
/// let mut model = Sequential::new();
/// model.add(Dense::new(1).input_shape(2))?.compile(Compile::new("adam", "mse"))?;
/// model.fit_stream(&shards.stream()?, Fit::new().epochs(2).verbose(Verbosity::Silent))?;
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Archives
/// The key of a member is its name up to the first dot after the folder, so `train/000.jpg` and `train/000.cls` are one
/// sample. Images need [`images`](Self::images); `.npy` is an array; `.txt` a text, and as a target a class; `.json` a
/// number, a list of numbers or, with a key as in `json:label`, the value of that key; `.cls` (also `.cls2`, `.class`,
/// `.index`, `.inx`, `.id`) a number, or the name of one of the [`class_names`](Self::class_names). Unless they are named,
/// the target is `cls` or else `y.npy`, and the input is the other member that is an image, `.npy` or `.txt`.
///
/// Files are untrusted: members are never written anywhere, links are refused, a sample has up to 256 MiB, and an archive
/// without the mark of its end is cut off, which is an error.
#[derive(Clone, Debug)]
pub struct Shards {
    format: Format,
    shards: Arc<[Shard]>,
    batch_size: usize,
    shuffle: bool,
    buffer: usize,
    seed: u64,
    csv: Csv,
    known: Known,
    decoder: Decoder,
}

impl Shards {
    /// The files that a pattern stands for, in alphabetical order: `*`, `?` and `[…]` as in a shell, and ranges of numbers,
    /// `train-{000..127}.tar`.
    ///
    /// With the cargo feature `object-store` also in object stores: `s3://`, `gs://`, `az://`, `http://`, `https://`,
    /// `file://`.
    ///
    /// # Errors
    /// [`Error::Data`] if no file matches, [`Error::Io`] if they cannot be listed or opened, [`Error::Unsupported`] for
    /// another format.
    pub fn open(pattern: impl AsRef<Path>) -> Result<Self> {
        Self::of(Location::matching(&text_of(pattern.as_ref())?)?)
    }

    /// These files, in their order.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_files<P: AsRef<Path>>(files: impl IntoIterator<Item = P>) -> Result<Self> {
        let files = files.into_iter().map(|file| Location::local(file.as_ref().to_owned()));
        Self::of(files.collect::<Result<_>>()?)
    }

    /// Pairs of `.npy` files: those that the pattern `x` stands for hold the inputs, those of `y` the targets, in
    /// alphabetical order.
    ///
    /// ```no_run
    /// use brasa::datasets::Shards;
    /// let shards = Shards::npy("train/x-*.npy", "train/y-*.npy")?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::Data`] for different numbers of files.
    pub fn npy(x: impl AsRef<Path>, y: impl AsRef<Path>) -> Result<Self> {
        let (x, y) = (Location::matching(&text_of(x.as_ref())?)?, Location::matching(&text_of(y.as_ref())?)?);
        if x.len() != y.len() {
            return Err(Error::data("the files of targets", format!("{}, as many as of inputs", x.len()), y.len()));
        }
        let pairs = x.into_iter().zip(y).map(|(x, y)| Shard { x, y: Some(y) });
        Ok(Self::new(Format::Npy, pairs.collect()))
    }

    /// The objects of a store that a pattern stands for, as [`open`](Self::open) finds files.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use brasa::datasets::{Shards, object_store::memory::InMemory};
    /// let store = Arc::new(InMemory::new());
    /// let error = Shards::in_store(store, "train/*.tar").unwrap_err();
    /// assert!(error.to_string().contains("at least one"));
    /// ```
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "object-store")]
    pub fn in_store(store: Arc<dyn object_store::ObjectStore>, pattern: &str) -> Result<Self> {
        let found = remote::Remote::in_store(&store, pattern)?;
        Self::of(found.into_iter().map(Location::Remote).collect())
    }

    fn of(files: Vec<Location>) -> Result<Self> {
        pattern::check_count(files.len())?;
        let Some(first) = files.first() else { return Err(Error::data("shards", "at least one file", "none")) };
        let (format, first) = (Format::of(&first.name())?, first.name());
        if let Some(other) = files.iter().find(|file| Format::of(&file.name()).ok() != Some(format)) {
            let expected = format!("files of the format of `{first}`");
            return Err(Error::data("shards", expected, format!("`{}`", other.name())));
        }
        Ok(Self::new(format, files.into_iter().map(|x| Shard { x, y: None }).collect()))
    }

    fn new(format: Format, shards: Arc<[Shard]>) -> Self {
        Self {
            format,
            shards,
            batch_size: 32,
            shuffle: true,
            buffer: BUFFER,
            seed: 0,
            csv: Csv::new(),
            known: Known::default(),
            decoder: Decoder::default(),
        }
    }

    /// The samples of a batch (default 32); the last of a pass can be smaller. In distributed training it is the batch of
    /// all ranks together, of which each has a part.
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Whether files and samples are shuffled in each pass (default: yes).
    #[must_use]
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// The number of samples out of which the next one is drawn (default 1024). The larger, the better samples are mixed,
    /// and the more memory they take: in archives as much as their members.
    #[must_use]
    pub fn shuffle_buffer(mut self, samples: usize) -> Self {
        self.buffer = samples;
        self
    }

    /// The seed of the order (default 0).
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The members of an archive that are inputs, by the rest of their names, or the columns of a table.
    ///
    /// ```no_run
    /// use brasa::datasets::{ReadImage, Shards};
    /// let shards = Shards::open("train-{000..127}.tar")?
    ///     .inputs(["jpg"])
    ///     .targets(["json:label"])
    ///     .images(ReadImage::new((64, 64, 3)));
    /// # Ok::<(), brasa::Error>(())
    /// ```
    #[must_use]
    pub fn inputs<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.decoder.inputs = names.into_iter().map(Into::into).collect();
        self.known = Known::default();
        self
    }

    /// The members of an archive that are targets, or the columns of a table, as [`inputs`](Self::inputs).
    #[must_use]
    pub fn targets<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.decoder.targets = names.into_iter().map(Into::into).collect();
        self.known = Known::default();
        self
    }

    /// The names of the classes, by number: a target can be a name then.
    #[must_use]
    pub fn class_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.decoder.class_names = names.into_iter().map(Into::into).collect();
        self.known = Known::default();
        self
    }

    /// How images in archives become numbers.
    #[must_use]
    pub fn images(mut self, read: ReadImage) -> Self {
        self.decoder.images = Some(read);
        self
    }

    /// How tables are read. The first file decides what the columns hold: their texts, the classes, the replacements of
    /// gaps; a text that it does not have is refused in the others.
    #[must_use]
    pub fn table(mut self, csv: Csv) -> Self {
        self.csv = csv;
        self.known = Known::default();
        self
    }

    /// The names of the files.
    pub fn files(&self) -> Vec<String> {
        self.shards.iter().map(|shard| shard.x.name()).collect()
    }

    /// Facts about the data for [`Model::data_info`](crate::Model::data_info_mut): the names of the classes, and how the
    /// columns of tables become inputs, for which the first file is read.
    ///
    /// # Errors
    /// Those of reading the first file.
    pub fn info(&self) -> Result<DataInfo> {
        let mut info = DataInfo { class_names: self.decoder.class_names.clone(), ..DataInfo::default() };
        if self.format == Format::Table {
            let reader = self.reader()?;
            let (table, classes) = reader.table()?;
            (info.table, info.class_names) = (Some(table.clone()), classes.clone());
        }
        Ok(info)
    }

    /// Whether inputs or targets are images, by the first sample of an archive.
    ///
    /// # Errors
    /// Those of reading it.
    #[cfg(feature = "recipes")]
    pub(crate) fn has_images(&self) -> Result<bool> {
        if !matches!(self.format, Format::Tar | Format::TarGz) {
            return Ok(false);
        }
        let (reader, mut has_some) = (self.reader()?, false);
        let mut look = |sample: Raw| {
            has_some = reader.decoder.has_images(&sample);
            ControlFlow::Break(())
        };
        let mut sink = Sink::new(0, 1, &mut look);
        for shard in &*reader.shards {
            if reader.read(shard, &mut sink)?.is_break() {
                break;
            }
        }
        Ok(has_some)
    }

    /// The batches, to be trained on by [`Model::fit_stream`](crate::Model::fit_stream).
    ///
    /// # Errors
    /// [`Error::Argument`] for invalid settings.
    pub fn stream(&self) -> Result<Stream<'static>> {
        let (reader, settings) = (Arc::new(self.reader()?), self.clone());
        let fingerprint = Some(self.fingerprint());
        Ok(Stream::of_ranks(fingerprint, move |pass, rank, ranks| -> Batches<'static> {
            match settings.order(rank, ranks) {
                Ok(order) => Box::new(Pass::new(reader.clone(), order, pass, rank, ranks)),
                Err(error) => Box::new(std::iter::once(Err(error))),
            }
        }))
    }

    /// The batches of one rank in one pass, decoded one after another; `rank` 0 of 1 has all.
    ///
    /// ```no_run
    /// use brasa::datasets::Shards;
    /// for batch in Shards::open("train-*.npz")?.batches(0, 0, 1)? {
    ///     println!("{:?}", batch?.x().shape());
    /// }
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for invalid settings, or a rank that is not below `ranks`.
    pub fn batches(
        &self,
        pass: usize,
        rank: usize,
        ranks: usize,
    ) -> Result<impl Iterator<Item = Result<Dataset>> + Send + use<>> {
        if rank >= ranks {
            return Err(Error::argument("rank", format!("a number below {ranks}, the number of ranks"), rank));
        }
        let pass = Pass::new(Arc::new(self.reader()?), self.order(rank, ranks)?, pass, rank, ranks);
        Ok(pass.map(|batch| batch?.decoded()))
    }

    /// All samples, in the order of the files, in memory: for data to validate with.
    ///
    /// # Errors
    /// Those of reading the files; [`Error::Memory`] if they do not fit.
    pub fn load(&self) -> Result<Dataset> {
        self.first(usize::MAX)
    }

    /// The first samples, in the order of the files, in memory; all if there are fewer.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn first(&self, samples: usize) -> Result<Dataset> {
        let reader = self.reader()?;
        let (mut parts, mut raw, mut values, mut failed) = (Vec::new(), Vec::new(), 0usize, None);
        let mut taken = 0;
        let mut decode = |raw: &mut Vec<Raw>| -> Result<()> {
            let part = reader.decoder.batch(raw)?;
            raw.clear();
            // Twice as much while the parts are joined.
            values = values.saturating_add(part.bytes().div_ceil(size_of::<f32>()).saturating_mul(2));
            check_room("the samples of shards", values)?;
            parts.push(part);
            Ok(())
        };
        let mut put = |sample: Raw| {
            raw.push(sample);
            taken += 1;
            if raw.len() == TOGETHER {
                failed = decode(&mut raw).err();
            }
            if taken >= samples || failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let mut sink = Sink::new(0, 1, &mut put);
        for shard in &*reader.shards {
            if reader.read(shard, &mut sink)?.is_break() {
                break;
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if !raw.is_empty() {
            decode(&mut raw)?;
        }
        if parts.is_empty() {
            return Err(Error::data("shards", "at least one sample", "none"));
        }
        Dataset::joined(&parts)
    }

    /// The reader of the files with these settings.
    fn reader(&self) -> Result<Reader> {
        let mut csv = self.csv.clone();
        if !self.decoder.class_names.is_empty() {
            check_class_names(&self.decoder.class_names)?;
            csv = csv.class_names(self.decoder.class_names.clone());
        }
        if !self.decoder.inputs.is_empty() {
            csv = csv.columns(self.decoder.inputs.clone());
        }
        if !self.decoder.targets.is_empty() {
            csv = csv.targets(self.decoder.targets.clone());
        }
        let named = [("inputs", &self.decoder.inputs), ("targets", &self.decoder.targets)];
        let has_names = !matches!(self.format, Format::Npz | Format::Npy);
        if let Some((argument, names)) = named.into_iter().find(|(_, names)| !names.is_empty() && !has_names) {
            let expected = "none, as arrays of inputs and targets have names of their own";
            return Err(Error::argument(argument, expected, names.join(", ")));
        }
        if self.batch_size == 0 {
            return Err(Error::argument("batch_size", "an integer above 0", 0));
        }
        let (format, shards, known) = (self.format, self.shards.clone(), self.known.clone());
        Ok(Reader { format, shards, csv, known, decoder: self.decoder.clone() })
    }

    /// The order of one rank.
    fn order(&self, rank: usize, ranks: usize) -> Result<Order> {
        if self.batch_size < ranks {
            let expected = format!("at least {ranks}, a sample on each rank");
            return Err(Error::argument("batch_size", expected, self.batch_size));
        }
        let start = |rank: usize| (self.batch_size as u128 * rank as u128 / ranks.max(1) as u128) as usize;
        let batch = start(rank + 1) - start(rank);
        Ok(Order { seed: self.seed, shuffle: self.shuffle, buffer: self.buffer, batch })
    }

    /// Distinguishes these samples and their order from others.
    fn fingerprint(&self) -> u64 {
        let mut sum = Fingerprint::new();
        let buffer = if self.shuffle { self.buffer.max(1) as u64 } else { 0 };
        sum.add_all([self.batch_size as u64, buffer, self.seed]);
        for location in self.shards.iter().flat_map(|shard| std::iter::once(&shard.x).chain(&shard.y)) {
            sum.add_bytes(location.file_name().as_bytes());
            sum.add(location.length());
        }
        sum.finish()
    }
}

/// A pattern as text.
fn text_of(pattern: &Path) -> Result<String> {
    let text = pattern.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::unsupported(format!("the pattern `{}`", pattern.display()), "Unicode"))
}
