//! MNIST: 70,000 handwritten digits, and the search for its files.
//!
//! Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits".

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{cache::cache_dir, dataset::Dataset, digest::Digest, idx::load_idx};
use crate::error::{Error, Result};

/// Loads MNIST: 60,000 digits to train on and 10,000 to test with.
///
/// Inputs have shape `(28, 28, 1)` and values from 0 to 1, targets are the digits as integers. The files are searched
/// for in `data/mnist` below the current directory, below the program's directory and its parents, and in the
/// [cache](super::cache_dir); if they are not found, they are downloaded into the cache.
///
/// ```no_run
/// let (train, test) = brasa::datasets::mnist::load()?;
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// Those of [`Mnist::load`].
pub fn load() -> Result<(Dataset, Dataset)> {
    Mnist::digits().load()
}

/// Loads the four MNIST files in a folder, gzipped or not, with any number and size of images.
///
/// # Errors
/// Those of [`Mnist::load`].
pub fn load_from(folder: impl Into<PathBuf>) -> Result<(Dataset, Dataset)> {
    Mnist::digits().data_dir(folder).load()
}

/// One of the data sets in MNIST's format, and the places to search for it.
///
/// ```no_run
/// use brasa::datasets::mnist::Mnist;
/// let (train, test) = Mnist::fashion().mirrors(["https://example.com/fashion"]).load()?;
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Mnist {
    release: &'static Release,
    data_dir: Option<PathBuf>,
    cache_dir: Option<PathBuf>,
    mirrors: Vec<String>,
    search: bool,
}

/// A published data set.
#[derive(Debug)]
struct Release {
    name: &'static str,
    mirrors: &'static [&'static str],
    /// The digests of [`FILES`], in the same order.
    #[cfg_attr(not(feature = "download"), expect(dead_code, reason = "compared only after a download"))]
    digests: [Digest; 4],
}

/// The files' names, without `.gz`: images and labels to train on, images and labels to test with.
const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

static DIGITS: Release = Release {
    name: "mnist",
    mirrors: &["https://storage.googleapis.com/cvdf-datasets/mnist", "https://ossci-datasets.s3.amazonaws.com/mnist"],
    digests: [
        Digest::Unpacked("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        Digest::Unpacked("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        Digest::Unpacked("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        Digest::Unpacked("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ],
};

static FASHION: Release = Release {
    name: "fashion_mnist",
    mirrors: &[
        "https://fashion-mnist.s3.eu-central-1.amazonaws.com",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    ],
    digests: [
        Digest::Packed("3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        Digest::Packed("a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        Digest::Packed("346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        Digest::Packed("67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ],
};

impl Mnist {
    fn of(release: &'static Release) -> Self {
        let mirrors = release.mirrors.iter().map(|&mirror| mirror.into()).collect();
        Self { release, data_dir: None, cache_dir: cache_dir(), mirrors, search: true }
    }

    /// The handwritten digits.
    pub fn digits() -> Self {
        Self::of(&DIGITS)
    }

    /// Fashion-MNIST, the pieces of clothing.
    pub fn fashion() -> Self {
        Self::of(&FASHION)
    }

    /// Searches this folder only.
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(folder.into());
        self
    }

    /// Stores downloads in a folder below this one, instead of [`cache_dir`].
    pub fn cache_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache_dir = Some(folder.into());
        self
    }

    /// Downloads from these addresses, in this order; a file's name is added to each.
    pub fn mirrors<S: Into<String>>(mut self, mirrors: impl IntoIterator<Item = S>) -> Self {
        self.mirrors = mirrors.into_iter().map(Into::into).collect();
        self
    }

    /// Whether to search `data` below the current directory and the program's. If not, only the cache is searched.
    pub fn search(mut self, search: bool) -> Self {
        self.search = search;
        self
    }

    /// Finds or downloads the files, and reads the training and the test samples.
    ///
    /// # Errors
    /// [`Error::Data`] if files are missing; [`Error::Broken`] if one is damaged or does not match the others;
    /// [`Error::Io`] if one cannot be read or downloaded.
    pub fn load(&self) -> Result<(Dataset, Dataset)> {
        let [train_x, train_y, test_x, test_y] = self.files()?;
        let (train, test) = (pair(&train_x, &train_y)?, pair(&test_x, &test_y)?);
        if train.x().sample_shape() != test.x().sample_shape() {
            let reason =
                format!("images of shape {:?}, to train on {:?}", test.x().sample_shape(), train.x().sample_shape());
            return Err(Error::broken(test_x.display().to_string(), "its sizes", reason));
        }
        Ok((train, test))
    }

    /// The paths of the four files.
    fn files(&self) -> Result<[PathBuf; 4]> {
        if let Some(folder) = &self.data_dir {
            return match find(folder).map(complete) {
                Some(found) => found,
                None => Err(self.nowhere(std::slice::from_ref(folder), "no such folder, or none of the files in it")),
            };
        }
        let folders = self.folders();
        if let Some(found) = folders.iter().find_map(|folder| find(folder)) {
            return complete(found);
        }
        self.cached(folders)
    }

    /// The folders to search, without the cache.
    fn folders(&self) -> Vec<PathBuf> {
        if !self.search {
            return Vec::new();
        }
        let below = |folder: &Path| folder.join("data").join(self.release.name);
        let mut folders = vec![below(Path::new(""))];
        if let Ok(program) = std::env::current_exe() {
            folders.extend(program.ancestors().skip(1).map(below));
        }
        folders
    }

    /// The files in the cache, downloaded if missing.
    fn cached(&self, mut searched: Vec<PathBuf>) -> Result<[PathBuf; 4]> {
        let Some(folder) = self.cache_dir.as_ref().map(|cache| cache.join(self.release.name)) else {
            return Err(self.nowhere(&searched, "none, and no home directory to download them to"));
        };
        let found = find(&folder).unwrap_or_default();
        if found.iter().all(Option::is_some) {
            return complete(found);
        }
        searched.push(folder.clone());
        self.fetch(&folder, found, &searched)
    }

    #[cfg(feature = "download")]
    fn fetch(&self, folder: &Path, mut found: [Option<PathBuf>; 4], searched: &[PathBuf]) -> Result<[PathBuf; 4]> {
        if self.mirrors.is_empty() {
            return Err(self.nowhere(searched, "none, and no mirror to download them from"));
        }
        for ((path, name), digest) in found.iter_mut().zip(FILES).zip(self.release.digests) {
            if path.is_none() {
                *path = Some(super::download::download(&self.mirrors, &format!("{name}.gz"), digest, folder)?);
            }
        }
        complete(found)
    }

    #[cfg(not(feature = "download"))]
    fn fetch(&self, _: &Path, _: [Option<PathBuf>; 4], searched: &[PathBuf]) -> Result<[PathBuf; 4]> {
        Err(self.nowhere(searched, "none, and this program was built without the feature `download`"))
    }

    fn nowhere(&self, searched: &[PathBuf], received: &str) -> Error {
        let folders: Vec<_> = searched.iter().map(|folder| format!("`{}`", folder.display())).collect();
        let expected = format!("{} (or with .gz) in {}", FILES.join(", "), folders.join(" or "));
        Error::data(format!("data set `{}`", self.release.name), expected, received)
    }
}

/// The files in a folder; `None` without any of them.
fn find(folder: &Path) -> Option<[Option<PathBuf>; 4]> {
    let found = FILES.map(|name| {
        // Some archives spell the names with a dot.
        [name.to_owned(), name.replace("-idx", ".idx")]
            .into_iter()
            .flat_map(|name| [folder.join(&name), folder.join(name + ".gz")])
            .find(|path| fs::metadata(path).is_ok_and(|file| file.is_file()))
    });
    found.iter().any(Option::is_some).then_some(found)
}

/// All four files, or the error that names the missing ones.
fn complete(found: [Option<PathBuf>; 4]) -> Result<[PathBuf; 4]> {
    let missing: Vec<_> = FILES.iter().zip(&found).filter(|(_, path)| path.is_none()).map(|(name, _)| *name).collect();
    let folder = found.iter().flatten().next().and_then(|path| path.parent()).unwrap_or(Path::new("")).to_path_buf();
    match found {
        [Some(a), Some(b), Some(c), Some(d)] => Ok([a, b, c, d]),
        _ => {
            let expected = format!("{} (or with .gz) beside the others", missing.join(", "));
            Err(Error::data(format!("the files in `{}`", folder.display()), expected, "no such file"))
        }
    }
}

/// The images in one file with the labels in another.
fn pair(images: &Path, labels: &Path) -> Result<Dataset> {
    let broken = |path: &Path, reason: String| Error::broken(path.display().to_string(), "its sizes", reason);
    let (x, y) = (load_idx(images)?, load_idx(labels)?);
    let &[_, height, width] = x.shape() else {
        return Err(broken(images, format!("expected (images, height, width), received {:?}", x.shape())));
    };
    if y.shape() != [x.len()] {
        let reason = format!("expected {} labels, one for each image, received {:?}", x.len(), y.shape());
        return Err(broken(labels, reason));
    }
    if let Some(path) = [(&x, images), (&y, labels)].iter().find(|(samples, _)| samples.dtype() != "uint8") {
        return Err(broken(path.1, format!("expected uint8 values, received {}", path.0.dtype())));
    }
    Dataset::new(x.with_sample_shape(&[height, width, 1])?.divided_by(255.0)?, y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::idx::tests::{gzip, idx};

    fn data() -> PathBuf {
        PathBuf::from("data/mnist")
    }

    /// How often each digit occurs.
    fn histogram(data: &Dataset) -> [usize; 10] {
        let mut counts = [0; 10];
        data.y().to_vec_f32().iter().for_each(|&label| counts[label as usize] += 1);
        counts
    }

    /// A folder with two small training images and one test image; `change` can corrupt a file.
    fn folder(change: impl Fn(&str, Vec<u8>) -> Vec<u8>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            idx(8, &[2, 2, 3], &[0, 51, 102, 153, 204, 255, 1, 2, 3, 4, 5, 6]),
            idx(8, &[2], &[9, 4]),
            idx(8, &[1, 2, 3], &[7; 6]),
            idx(8, &[1], &[0]),
        ];
        for (name, file) in FILES.iter().zip(files) {
            fs::write(folder.path().join(name), change(name, file)).unwrap();
        }
        folder
    }

    #[test]
    fn the_real_files() {
        let (train, test) = load_from(data()).unwrap();
        assert_eq!((train.x().shape(), train.y().shape()), (&[60_000, 28, 28, 1][..], &[60_000][..]));
        assert_eq!((test.x().shape(), test.y().dtype()), (&[10_000, 28, 28, 1][..], "uint8"));
        assert_eq!(histogram(&train), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
        assert_eq!(histogram(&test), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
        assert_eq!(train.y().take(5).to_vec_f32(), [5.0, 0.0, 4.0, 1.0, 9.0]);
        assert_eq!(test.y().take(1).to_vec_f32(), [7.0]);

        // The well-known mean, and the range.
        let pixels = train.x().to_vec_f32();
        let mean = pixels.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / pixels.len() as f64;
        assert!((mean - 0.130_660_5).abs() < 1e-6, "{mean}");
        assert!(pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)) && pixels.contains(&1.0));
    }

    #[test]
    fn found_below_the_current_directory() {
        // Tests run in the package's own directory.
        let (train, test) = Mnist::digits().mirrors::<String>([]).load().unwrap();
        assert_eq!((train.len(), test.len()), (60_000, 10_000));
    }

    #[test]
    fn other_sizes_spellings_and_packings() {
        let folder = folder(|name, file| if name.starts_with("train") { gzip(&file) } else { file });
        let dotted = folder.path().join("train-images.idx3-ubyte.gz");
        fs::rename(folder.path().join("train-images-idx3-ubyte"), dotted).unwrap();
        let (train, test) = load_from(folder.path()).unwrap();
        assert_eq!((train.x().shape(), test.len()), (&[2, 2, 3, 1][..], 1));
        assert_eq!(train.x().take(1).to_vec_f32(), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(train.y().to_vec_f32(), [9.0, 4.0]);
    }

    #[test]
    fn damaged_files_are_named() {
        let check = |spoilt: &'static str, with: &dyn Fn(Vec<u8>) -> Vec<u8>, words: &str| {
            let folder = folder(|name, file| if name == spoilt { with(file) } else { file });
            let error = load_from(folder.path()).unwrap_err();
            let Error::Broken { file, reason, .. } = &error else { panic!("{error}") };
            assert!(file.ends_with(spoilt) && reason.contains(words), "{error}");
        };
        check(FILES[0], &|file| file[..file.len() - 1].to_vec(), "expected 12 bytes of values, received 11");
        check(FILES[1], &|_| idx(8, &[3], &[1, 2, 3]), "expected 2 labels, one for each image, received [3]");
        check(FILES[1], &|_| idx(8, &[2, 1], &[1, 2]), "received [2, 1]");
        check(FILES[2], &|_| idx(8, &[6], &[7; 6]), "expected (images, height, width), received [6]");
        check(FILES[2], &|_| idx(8, &[1, 3, 2], &[7; 6]), "images of shape [3, 2, 1], to train on [2, 3, 1]");
        check(FILES[3], &|_| idx(9, &[1], &[0]), "expected uint8 values, received int32");
        check(FILES[3], &|_| b"<html>not found</html>".to_vec(), "expected an IDX file");
    }

    #[test]
    fn missing_files_are_named() {
        let folder = folder(|_, file| file);
        fs::remove_file(folder.path().join(FILES[3])).unwrap();
        let error = load_from(folder.path()).unwrap_err().to_string();
        assert!(error.contains("expected t10k-labels-idx1-ubyte (or with .gz) beside the others"), "{error}");

        let empty = tempfile::tempdir().unwrap();
        let error = load_from(empty.path()).unwrap_err();
        assert!(matches!(error, Error::Data { .. }) && error.to_string().contains("data set `mnist`"), "{error}");

        // Neither in the package nor downloadable: every searched place is named.
        let nowhere = Mnist::fashion().cache_dir(empty.path()).mirrors::<String>([]).load().unwrap_err().to_string();
        let cache = empty.path().join("fashion_mnist").display().to_string();
        assert!(nowhere.contains("`data/fashion_mnist` or") && nowhere.contains(&cache), "{nowhere}");
    }

    #[test]
    fn the_cache_is_read_before_anything_is_downloaded() {
        let cache = tempfile::tempdir().unwrap();
        fs::rename(folder(|_, file| file).keep(), cache.path().join("fashion_mnist")).unwrap();
        let (train, _) = Mnist::fashion().cache_dir(cache.path()).mirrors::<String>([]).load().unwrap();
        assert_eq!(train.len(), 2);
    }
}
