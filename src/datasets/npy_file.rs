//! Arrays that stay on disk, for data larger than memory.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use super::{
    Cells, Column, Fingerprint,
    npy::Header,
    number::NumberType,
    samples::check_request,
    source::{Rows, Source},
};
use crate::error::{Error, Result};
use crate::formats::regular::open_file;
use crate::memory::check_room;

/// The most bytes of consecutive rows read at once.
const RUN_BYTES: usize = 1 << 20;

/// An `.npy` file that stays on disk; rows are read on demand.
#[derive(Debug)]
pub struct NpyFile {
    path: PathBuf,
    file: File,
    header: Header,
}

impl NpyFile {
    /// Opens the file and checks its header and its length.
    ///
    /// # Errors
    /// Those of [`load_npy`](super::load_npy); [`Error::Unsupported`] for an array of several axes in Fortran order,
    /// whose rows are scattered over the file, and [`Error::Shape`] for one without axes.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let (mut file, size) = open_file(&path)?;
        let header = Header::read(&mut file, size, &path.display().to_string())?;
        if header.shape.is_empty() {
            return Err(Error::shape("an array whose first axis counts the samples", "an array without axes"));
        }
        if header.columns_first && header.shape.len() > 1 {
            let what = format!("reading rows of `{}`, which is in Fortran order", path.display());
            return Err(Error::unsupported(what, "C order, as numpy.ascontiguousarray makes it"));
        }
        Ok(Self { path, file, header })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.header.shape[0]
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape: the number of rows, then the shape of one.
    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// The shape of one row.
    pub fn sample_shape(&self) -> &[usize] {
        &self.header.shape[1..]
    }

    /// Writes the rows at `indices` one after another into `out`. Adjacent rows are read at once.
    ///
    /// # Errors
    /// Those of [`Samples::gather`](super::Samples::gather), and [`Error::Io`] if the file can no longer be read.
    pub fn gather(&self, indices: &[usize], out: &mut [f32]) -> Result<()> {
        check_request(indices, self.len(), self.sample_shape(), out.len())?;
        let width: usize = self.sample_shape().iter().product();
        let mut rest = out;
        self.for_each_run(indices, |bytes, count| {
            let (rows, after) = std::mem::take(&mut rest).split_at_mut(count * width);
            self.header.encoding.decode_f32(bytes, rows);
            rest = after;
            true
        })
    }

    /// The rows at `indices` in their own type, 64-bit integers included; 64-bit floats become integers if all of them
    /// are whole.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    pub fn gather_column(&self, indices: &[usize]) -> Result<Column> {
        let shape = [&[indices.len()], self.sample_shape()].concat();
        let count = indices.len().saturating_mul(self.sample_shape().iter().product());
        check_request(indices, self.len(), self.sample_shape(), count)?;
        check_room("samples of a file", count.saturating_mul(2))?;
        let (mut numbers, mut whole) =
            (Vec::new(), !matches!(self.header.encoding.kind, NumberType::F16 | NumberType::F32));
        if whole {
            numbers.reserve_exact(count);
            self.for_each_run(indices, |bytes, _| {
                whole = self.header.encoding.decode_i64(bytes, &mut numbers);
                whole
            })?;
        }
        if whole {
            return Column::new(shape, Cells::Int(numbers));
        }
        let mut out = vec![0.0; count];
        self.gather(indices, &mut out)?;
        Column::new(shape, Cells::Float(out))
    }

    /// Reads the rows at `indices` in runs, calling `each` with a run's bytes and row count until it returns `false`.
    fn for_each_run(&self, indices: &[usize], mut each: impl FnMut(&mut [u8], usize) -> bool) -> Result<()> {
        let bytes = self.sample_shape().iter().product::<usize>() * self.header.encoding.size();
        if bytes == 0 {
            return Ok(());
        }
        let most = (RUN_BYTES / bytes).max(1);
        let mut buffer = Vec::new();
        for run in indices.chunk_by(|a, b| a + 1 == *b).flat_map(|run| run.chunks(most)) {
            buffer.resize(run.len() * bytes, 0);
            let offset = self.header.length + run[0] * bytes;
            read_at(&self.file, &mut buffer, offset as u64).map_err(Error::io("read", &self.path))?;
            if !each(&mut buffer, run.len()) {
                break;
            }
        }
        Ok(())
    }
}

impl NpySource {
    /// Adds a fingerprint of both files.
    fn add_to(&self, sum: &mut Fingerprint) -> Result<()> {
        for array in [&self.x, &self.y] {
            sum.add_file(&array.path, &array.file, read_at)?;
        }
        Ok(())
    }
}

/// Fills `buffer` from an offset without a shared file position, so that several threads can read.
#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Fills `buffer` from an offset; every call gives its own, so that several threads can read.
#[cfg(windows)]
fn read_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !buffer.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, buffer, offset)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[count..];
        offset += count as u64;
    }
    Ok(())
}

/// On other systems, reads by seeking, with a separate file handle per read.
#[cfg(not(any(unix, windows)))]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(buffer)
}

/// A pair of `.npy` files that stay on disk, for data larger than memory.
///
/// ```no_run
/// use brasa::datasets::{NpySource, Source};
/// let source = NpySource::open("x.npy", "y.npy")?;
/// println!("{} samples of shape {:?}", source.len(), source.x_shape());
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Debug)]
pub struct NpySource {
    x: NpyFile,
    y: NpyFile,
}

impl NpySource {
    /// Opens the inputs and the targets.
    ///
    /// # Errors
    /// Those of [`NpyFile::open`]; [`Error::Data`] if the files differ in length.
    pub fn open(x: impl AsRef<Path>, y: impl AsRef<Path>) -> Result<Self> {
        let (x, y) = (NpyFile::open(x)?, NpyFile::open(y)?);
        if x.len() != y.len() {
            let expected = format!("{} samples, as many as `{}` has", x.len(), x.path.display());
            return Err(Error::data(format!("`{}`", y.path.display()), expected, y.len()));
        }
        Ok(Self { x, y })
    }
}

impl Source for NpySource {
    fn len(&self) -> usize {
        self.x.len()
    }

    fn x_shape(&self) -> &[usize] {
        self.x.sample_shape()
    }

    fn y_shape(&self) -> &[usize] {
        self.y.sample_shape()
    }

    fn read(&self, indices: &[usize], x: &mut [f32], y: &mut [f32]) -> Result<()> {
        self.x.gather(indices, x)?;
        self.y.gather(indices, y)
    }

    fn read_columns(&self, indices: &[usize], y: &mut [&mut [f32]]) -> Result<Option<Vec<Column>>> {
        y.iter_mut().try_for_each(|y| self.y.gather(indices, y))?;
        self.x.gather_column(indices).map(|column| Some(vec![column]))
    }

    fn fingerprint(&self) -> Result<Option<u64>> {
        let mut sum = Fingerprint::new();
        self.add_to(&mut sum)?;
        Ok(Some(sum.finish()))
    }
}

impl Rows for NpyFile {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn sample_shape(&self) -> &[usize] {
        Self::sample_shape(self)
    }

    fn gather(&self, indices: &[usize], out: &mut [f32]) -> Result<()> {
        Self::gather(self, indices, out)
    }

    fn gather_column(&self, indices: &[usize]) -> Result<Column> {
        Self::gather_column(self, indices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::{load_npy, npy::tests::npy, save_npy};

    #[test]
    fn rows_are_those_of_the_loaded_array() {
        let folder = tempfile::tempdir().unwrap();
        let (x, y) = (folder.path().join("x.npy"), folder.path().join("y.npy"));
        let values: Vec<f32> = (0..7 * 6).map(|i| i as f32 / 3.0).collect();
        save_npy(&x, &[7, 2, 3], &values).unwrap();
        let labels: Vec<u8> = (0..7_i16).flat_map(|i| (i - 3).to_be_bytes()).collect();
        std::fs::write(&y, npy(">i2", &[7], &labels)).unwrap();

        let source = NpySource::open(&x, &y).unwrap();
        assert_eq!((source.len(), source.x_shape(), source.y_shape()), (7, &[2, 3][..], &[][..]));
        let (all_x, all_y) = (load_npy(&x).unwrap(), load_npy(&y).unwrap());
        for indices in [&[0, 1, 2, 3, 4, 5, 6][..], &[6, 0, 3, 4, 5, 5, 1], &[], &[2]] {
            let (mut x, mut y) = (vec![f32::NAN; indices.len() * 6], vec![f32::NAN; indices.len()]);
            source.read(indices, &mut x, &mut y).unwrap();
            let (mut wanted_x, mut wanted_y) = (x.clone(), y.clone());
            all_x.gather(indices, &mut wanted_x).unwrap();
            all_y.gather(indices, &mut wanted_y).unwrap();
            assert_eq!((x, y), (wanted_x, wanted_y));
        }
        assert!(source.read(&[7], &mut [0.0; 6], &mut [0.0]).is_err());
        assert!(source.read(&[0], &mut [0.0; 5], &mut [0.0]).is_err());
    }

    #[test]
    fn runs_longer_than_the_buffer_are_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let (rows, width) = (5, RUN_BYTES / 4 / 2 - 1);
        let values: Vec<f32> = (0..rows * width).map(|i| i as f32).collect();
        save_npy(&path, &[rows, width], &values).unwrap();
        let mut out = vec![f32::NAN; values.len()];
        NpyFile::open(&path).unwrap().gather(&[0, 1, 2, 3, 4], &mut out).unwrap();
        assert_eq!(out, values);
    }

    #[test]
    fn every_type_reads_as_load_npy_does() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for descr in ["|b1", "|u1", "|i1", "<u2", ">i2", "<u4", ">i4", "<u8", ">i8", "<f2", ">f4", "<f8"] {
            let size: usize = descr[2..].parse().unwrap();
            // Bytes below 0x3c, so that no number is infinite.
            let bytes: Vec<u8> = (0..4 * size).map(|i| (i * 37 % 60) as u8).collect();
            std::fs::write(file.path(), npy(descr, &[2, 2], &bytes)).unwrap();
            let mut out = [f32::NAN; 4];
            NpyFile::open(file.path()).unwrap().gather(&[1, 0], &mut out).unwrap();
            let loaded = load_npy(file.path()).unwrap().to_vec_f32();
            assert_eq!(out[..], [&loaded[2..], &loaded[..2]].concat(), "{descr}");
            let column = NpyFile::open(file.path()).unwrap().gather_column(&[1, 0]).unwrap();
            assert_eq!(column, load_npy(file.path()).unwrap().gather_column(&[1, 0]).unwrap(), "{descr}");
            assert_eq!(matches!(column.cells(), Cells::Int(_)), !descr.contains('f'), "{descr}");
        }
    }

    #[test]
    fn whole_numbers_stay_exact_on_their_way_to_layers() {
        let folder = tempfile::tempdir().unwrap();
        let (x, y) = (folder.path().join("x.npy"), folder.path().join("y.npy"));
        save_npy(&y, &[3], &[0.0, 1.0, 2.0]).unwrap();
        let numbers = [16_777_217, -9_007_199_254_740_993, i64::MAX];
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        std::fs::write(&x, npy(">i8", &[3, 1], &bytes)).unwrap();
        let source = NpySource::open(&x, &y).unwrap();
        let mut targets = [0.0; 3];
        let columns = source.read_columns(&[2, 0, 1], &mut [&mut targets]).unwrap().unwrap();
        assert_eq!(columns[0].cells(), &Cells::Int(vec![numbers[2], numbers[0], numbers[1]]));
        assert_eq!((columns[0].shape(), targets), (&[3, 1][..], [2.0, 0.0, 1.0]));
        assert!(source.read_columns(&[3], &mut []).is_err());
        let floats = |values: [f64; 2]| {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            std::fs::write(&x, npy("<f8", &[2], &bytes)).unwrap();
            NpyFile::open(&x).unwrap().gather_column(&[0, 1]).unwrap()
        };
        assert_eq!(floats([16_777_217.0, -3.0]).cells(), &Cells::Int(vec![16_777_217, -3]));
        assert_eq!(floats([2.0, 0.5]).cells(), &Cells::Float(vec![2.0, 0.5]));
    }

    #[test]
    fn files_that_cannot_be_read_by_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        std::fs::write(&path, npy("<f4", &[], &[0; 4])).unwrap();
        assert!(matches!(NpyFile::open(&path), Err(Error::Shape { .. })));
        std::fs::write(&path, npy("<f4", &[2], &[0; 4])).unwrap();
        assert!(matches!(NpyFile::open(&path), Err(Error::Broken { .. })));
        let fortran = Path::new("tests/fixtures/data/fortran_f8.npy");
        assert!(matches!(NpyFile::open(fortran), Err(Error::Unsupported { .. })));

        save_npy(&path, &[2], &[0.0; 2]).unwrap();
        let y = folder.path().join("y.npy");
        save_npy(&y, &[3], &[0.0; 3]).unwrap();
        assert!(matches!(NpySource::open(&path, &y), Err(Error::Data { .. })));

        let open = NpyFile::open(&y).unwrap();
        std::fs::OpenOptions::new().write(true).open(&y).unwrap().set_len(130).unwrap();
        assert!(matches!(open.gather(&[2], &mut [0.0]), Err(Error::Io { .. })), "the file became shorter");
    }
}
