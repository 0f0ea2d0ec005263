//! Reading a shard: sample by sample, whatever its format.

use std::io::BufReader;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use flate2::read::MultiGzDecoder;

use super::archive::read_archive;
use super::decode::Decoder;
use super::location::{Location, OnDisk};
use super::sample::{Content, Raw, Sink};
use crate::datasets::{Csv, Dataset, TableInfo, load_npy, load_npz};
use crate::error::{Error, Result};

/// The format of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Npz,
    /// Pairs of files.
    Npy,
    Tar,
    TarGz,
    Table,
}

impl Format {
    /// The format of a file, by its name.
    pub fn of(name: &str) -> Result<Self> {
        let lower = name.to_lowercase();
        let ends = |endings: &[&str]| endings.iter().any(|ending| lower.ends_with(ending));
        match () {
            () if ends(&[".npz"]) => Ok(Self::Npz),
            () if ends(&[".tar"]) => Ok(Self::Tar),
            () if ends(&[".tar.gz", ".tgz"]) => Ok(Self::TarGz),
            () if ends(&[".csv", ".tsv", ".tab", ".parquet", ".pq"]) => Ok(Self::Table),
            () => {
                let supported = "`.npz`, `.tar`, `.tar.gz`, `.csv`, `.tsv`, `.parquet`, pairs of `.npy` \
                                 (`Shards::npy`)";
                Err(Error::unsupported(format!("`{name}` as a shard"), supported))
            }
        }
    }
}

/// A shard: one file, or one of inputs and one of targets.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    pub x: Location,
    pub y: Option<Location>,
}

/// How the columns of tables become inputs, and the names of the classes: those of the first shard.
pub(super) type Known = Arc<OnceLock<(TableInfo, Vec<String>)>>;

/// Shards of one format.
#[derive(Debug)]
pub(super) struct Reader {
    pub format: Format,
    pub shards: Arc<[Shard]>,
    pub csv: Csv,
    pub known: Known,
    pub decoder: Decoder,
}

impl Reader {
    /// Hands the samples of a shard to `sink`, until it breaks off.
    pub fn read(&self, shard: &Shard, sink: &mut Sink<'_>) -> Result<ControlFlow<()>> {
        let file: Arc<str> = shard.x.name().into();
        let rows = match self.format {
            Format::Tar | Format::TarGz => {
                let (content, length) = shard.x.open()?;
                let wanted = |member: &str| self.decoder.wants(member);
                return match self.format {
                    Format::Tar => read_archive(content, Some(length), &file, wanted, sink),
                    _ => read_archive(MultiGzDecoder::new(BufReader::new(content)), None, &file, wanted, sink),
                };
            }
            Format::Npz => on_disk(&shard.x, |path| load_npz(path))?.0,
            Format::Npy => {
                let y = shard.y.as_ref().unwrap_or(&shard.x);
                let (x, y) = (on_disk(&shard.x, |path| load_npy(path))?, on_disk(y, |path| load_npy(path))?);
                Dataset::new(x, y).map_err(|error| match error {
                    Error::Data { expected, received, .. } => Error::data(format!("`{file}`"), expected, received),
                    error => error,
                })?
            }
            Format::Table => {
                let (info, classes) = self.table()?;
                let csv = self.csv.clone().like(info).class_names(classes.clone());
                on_disk(&shard.x, |path| csv.read(path))?.data
            }
        };
        for row in 0..rows.len() {
            if !sink.wants_next() {
                continue;
            }
            // A copy, so that no sample that waits for its turn keeps a whole shard in memory.
            let content = Content::Row(row, rows.copied(row)?);
            if sink.put(Raw { file: file.clone(), content }).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// How the columns of tables become inputs, and the names of the classes.
    pub fn table(&self) -> Result<&(TableInfo, Vec<String>)> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        let Some(first) = self.shards.first() else { return Err(Error::data("shards", "at least one", "none")) };
        let table = on_disk(&first.x, |path| self.csv.read(path))?;
        table.notes.iter().for_each(|note| tracing::warn!("{note}"));
        Ok(self.known.get_or_init(|| (table.info, table.class_names)))
    }
}

/// What `read` makes of the file on this machine; its errors name the file by its address.
fn on_disk<T>(location: &Location, read: impl FnOnce(&std::path::Path) -> Result<T>) -> Result<T> {
    let on_disk: OnDisk = location.on_disk()?;
    let result = read(&on_disk.path);
    #[cfg(feature = "object-store")]
    if on_disk.temporary.is_some() {
        let path = on_disk.path.display().to_string();
        return result.map_err(|error| match error {
            Error::Broken { file, at, reason } => Error::broken(file.replace(&path, &location.name()), at, reason),
            Error::Data { what, expected, received } => {
                Error::data(what.replace(&path, &location.name()), expected, received)
            }
            Error::Io { action, source, .. } => Error::Io { action, path: location.name().into(), source },
            error => error,
        });
    }
    result
}
