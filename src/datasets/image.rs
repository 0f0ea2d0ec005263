//! Images as arrays, and folders of images as data sets.

use std::{
    fs,
    io::{BufRead, BufReader, Cursor, Seek},
    path::{Path, PathBuf},
};

use image::{DynamicImage, GrayImage, ImageBuffer, ImageDecoder, ImageReader, RgbImage, imageops::FilterType};
use rayon::prelude::*;

use super::folders::{EXTENSIONS, check_apart, entries, is_image};
use super::pixels::{self, ImageMemory};
use super::shuffle::shuffle;
use super::{Fingerprint, PixelRange, Samples, check_class_names, samples::check_request, source::Source};
use crate::error::{Error, Result};
use crate::formats::{Limits, regular::open_file};

/// The longest side to which an image is resized, in pixels.
const MOST_PIXELS_A_SIDE: u32 = 16_384;

/// Reads an image (PNG, JPEG, BMP, WebP, or the first frame of a GIF) as `height × width × channels` values from 0 to
/// 1.
///
/// An image of another size is resized with a triangle filter, without keeping its aspect ratio. One channel is the
/// brightness, `0.299 R + 0.587 G + 0.114 B` (ITU-R BT.601, as in Keras's `load_img`); three are red, green and blue.
/// Transparency is ignored, as in Keras.
///
/// A 16-bit greyscale PNG keeps its precision: its values are divided by 65,535. Of 16-bit colours, and of grey with
/// transparency, the upper 8 bits are used, as in Keras's `load_img`.
///
/// [`ReadImage`] supports other ranges and decodes bytes.
///
/// ```no_run
/// let pixels = brasa::datasets::load_image("seven.png", (28, 28, 1))?;
/// assert_eq!(pixels.len(), 28 * 28);
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::Broken`] if it is damaged, [`Error::Unsupported`] if it is not an
/// image in one of these formats or exceeds the limit (64 × 2²⁰ pixels), [`Error::Argument`] for a shape without pixels
/// or with other than 1 or 3 channels.
pub fn load_image(path: impl AsRef<Path>, shape: (usize, usize, usize)) -> Result<Vec<f32>> {
    ReadImage::new(shape).file(path)
}

/// As [`load_image`], with other limits: [`Limits::pixels`] bounds the image and, at 8 bytes per pixel, the memory of
/// all images that are being decoded, by any number of threads.
///
/// # Errors
/// As [`load_image`].
pub fn load_image_with(path: impl AsRef<Path>, shape: (usize, usize, usize), limits: &Limits) -> Result<Vec<f32>> {
    ReadImage::new(shape).limits(limits).file(path)
}

/// As [`load_image`], for the bytes of a file, such as those of `include_bytes!` or of an upload.
///
/// ```
/// let dot = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0\0\0\0\0\x04\0\0\0\
///     \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x33\x33\x33\0";
/// assert_eq!(brasa::datasets::decode_image(dot, (1, 1, 1))?, [0.2]);
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// As [`load_image`].
pub fn decode_image(bytes: &[u8], shape: (usize, usize, usize)) -> Result<Vec<f32>> {
    ReadImage::new(shape).bytes("an image", bytes)
}

/// How images become numbers; see [`load_image`].
///
/// ```no_run
/// use brasa::datasets::{PixelRange, ReadImage};
/// let read = ReadImage::new((64, 64, 3)).pixels(PixelRange::ZeroTo255);
/// let (one, other) = (read.file("cat.jpg")?, read.file("dog.jpg")?);
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReadImage {
    shape: (usize, usize, usize),
    pixels: PixelRange,
    limits: Limits,
}

impl ReadImage {
    /// Images become `(height, width, channels)` numbers from 0 to 1.
    pub fn new(shape: (usize, usize, usize)) -> Self {
        Self { shape, pixels: PixelRange::default(), limits: Limits::default() }
    }

    /// The range of the numbers (default: 0 to 1).
    #[must_use]
    pub fn pixels(mut self, pixels: PixelRange) -> Self {
        self.pixels = pixels;
        self
    }

    /// Other limits than the default ones.
    #[must_use]
    pub fn limits(mut self, limits: &Limits) -> Self {
        self.limits = limits.clone();
        self
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`load_image`].
    pub fn file(&self, path: impl AsRef<Path>) -> Result<Vec<f32>> {
        check_shape(self.shape)?;
        let path = path.as_ref();
        self.read(path, BufReader::new(open_file(path)?.0))
    }

    /// Decodes the bytes of a file; `name` is its name in messages.
    ///
    /// # Errors
    /// As [`load_image`].
    pub fn bytes(&self, name: impl AsRef<Path>, bytes: &[u8]) -> Result<Vec<f32>> {
        check_shape(self.shape)?;
        self.read(name.as_ref(), Cursor::new(bytes))
    }

    /// Height, width and channels.
    #[cfg(feature = "shards")]
    pub(super) fn shape(&self) -> (usize, usize, usize) {
        self.shape
    }

    /// The pixels of the bytes of a file, as its header says; `None` where that is no image's.
    #[cfg(feature = "serve")]
    pub(crate) fn pixels_of(bytes: &[u8]) -> Option<u64> {
        let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
        reader.limits(pixels::header_limits());
        let (width, height) = reader.into_dimensions().ok()?;
        Some(u64::from(width) * u64::from(height))
    }

    fn read(&self, name: &Path, file: impl BufRead + Seek) -> Result<Vec<f32>> {
        let (height, width) = check_shape(self.shape)?;
        let channels = self.shape.2;
        let (image, deep_grey, _memory) = decode(name, file, self.shape, &self.limits)?;
        if deep_grey {
            let grey = resize(image.into_luma16(), width, height).into_raw();
            let shares = grey.into_iter().map(|value| self.pixels.of_share(f32::from(value) / 65_535.0));
            return Ok(shares.flat_map(|value| std::iter::repeat_n(value, channels)).collect());
        }
        let image = eight_bits(image);
        let bytes = if channels == 1 {
            let grey = if image.color().has_color() { brightness(&image.into_rgb8()) } else { image.into_luma8() };
            resize(grey, width, height).into_raw()
        } else {
            resize(image.into_rgb8(), width, height).into_raw()
        };
        Ok(bytes.into_iter().map(|byte| self.pixels.of_byte(byte)).collect())
    }
}

/// The upper 8 bits of a 16-bit image. The decoder's own conversion rounds, where Pillow truncates.
fn eight_bits(image: DynamicImage) -> DynamicImage {
    let (width, height) = (image.width(), image.height());
    let upper = |values: Vec<u16>| values.into_iter().map(|value| (value >> 8) as u8).collect::<Vec<u8>>();
    let converted = match &image {
        DynamicImage::ImageLuma16(_) | DynamicImage::ImageLumaA16(_) => {
            GrayImage::from_raw(width, height, upper(image.to_luma16().into_raw())).map(DynamicImage::ImageLuma8)
        }
        DynamicImage::ImageRgb16(_) | DynamicImage::ImageRgba16(_) => {
            RgbImage::from_raw(width, height, upper(image.to_rgb16().into_raw())).map(DynamicImage::ImageRgb8)
        }
        _ => None,
    };
    converted.unwrap_or(image)
}

/// Height and width of a valid image shape.
fn check_shape((height, width, channels): (usize, usize, usize)) -> Result<(u32, u32)> {
    let side = |side: usize| u32::try_from(side).ok().filter(|side| (1..=MOST_PIXELS_A_SIDE).contains(side));
    match (side(height), side(width), channels) {
        (Some(height), Some(width), 1 | 3) => Ok((height, width)),
        _ => {
            let expected = format!("(height, width, channels), sides of 1 to {MOST_PIXELS_A_SIDE}, 1 or 3 channels");
            Err(Error::argument("shape", expected, format!("({height}, {width}, {channels})")))
        }
    }
}

/// Decodes an image, independent of its file name; the flag is true for 16-bit grey without an alpha channel. The memory
/// holds the image's memory reservation.
fn decode(
    path: &Path,
    mut file: impl BufRead + Seek,
    shape: (usize, usize, usize),
    limits: &Limits,
) -> Result<(DynamicImage, bool, ImageMemory)> {
    // The decoder turns a transparent value into an alpha channel, so only the header tells.
    let deep_grey = is_deep_grey(file.fill_buf().map_err(Error::io("read", path))?);
    let reader = ImageReader::new(file).with_guessed_format().map_err(Error::io("read", path))?;
    let reader = named(reader, path);
    let (decoder, memory) = pixels::decoder(path, reader, shape, limits)?;
    let image = DynamicImage::from_decoder(decoder).map_err(|error| pixels::about(path, error))?;
    Ok((image, deep_grey, memory))
}

/// Width and height of an image, and whether it is grey, from its header; nothing is decoded.
///
/// # Errors
/// As [`load_image`].
pub fn image_size(path: impl AsRef<Path>) -> Result<(u32, u32, bool)> {
    let path = path.as_ref();
    let reader = BufReader::new(open_file(path)?.0);
    let mut reader = named(ImageReader::new(reader).with_guessed_format().map_err(Error::io("read", path))?, path);
    reader.limits(pixels::header_limits());
    let decoder = reader.into_decoder().map_err(|error| pixels::about(path, error))?;
    let (width, height) = decoder.dimensions();
    Ok((width, height, !decoder.color_type().has_color()))
}

/// The reader, with the format from the file's extension if its content does not identify one.
fn named<R: BufRead + Seek>(mut reader: ImageReader<R>, path: &Path) -> ImageReader<R> {
    if reader.format().is_none()
        && let Ok(format) = image::ImageFormat::from_path(path)
    {
        reader.set_format(format);
    }
    reader
}

/// Whether a file begins as a PNG of colour type 0 (grey) with 16 bits per value.
fn is_deep_grey(start: &[u8]) -> bool {
    start.starts_with(b"\x89PNG\r\n\x1a\n") && start.get(12..16) == Some(b"IHDR") && start.get(24..26) == Some(&[16, 0])
}

/// The brightness of each pixel, rounded as Pillow rounds it: the weights are in parts of 65,536.
fn brightness(image: &RgbImage) -> GrayImage {
    GrayImage::from_fn(image.width(), image.height(), |x, y| {
        let [red, green, blue] = image.get_pixel(x, y).0.map(u32::from);
        image::Luma([((19_595 * red + 38_470 * green + 7_471 * blue + 0x8000) >> 16) as u8])
    })
}

/// Resizes an image, unless it already has the size.
fn resize<P: image::Pixel<Subpixel: 'static> + 'static>(
    image: ImageBuffer<P, Vec<P::Subpixel>>,
    width: u32,
    height: u32,
) -> ImageBuffer<P, Vec<P::Subpixel>> {
    if image.dimensions() == (width, height) {
        return image;
    }
    image::imageops::resize(&image, width, height, FilterType::Triangle)
}

/// A folder of images, read on demand. Each sub-folder is a class with the folder's name.
///
/// Classes are indexed in alphabetical order; a target is the index of its class. Images in nested folders belong to
/// the sub-folder above them. Hidden files and folders (whose name begins with a dot, such as the `._0.png` that macOS
/// leaves beside `0.png`), the folder `__MACOSX`, and files without an image extension (`bmp`, `gif`, `jpeg`, `jpg`,
/// `png`, `webp`) are skipped and [counted](Self::left_out).
///
/// The order is that of the paths, one class after another: [`shuffled`](Self::shuffled) mixes it, so that a validation
/// split, which takes the last images, contains every class.
///
/// ```no_run
/// use brasa::datasets::{ImageFolder, Part, Source};
/// let photos = ImageFolder::open("photos", (64, 64, 3))?.shuffled(42);
/// println!("{} images of {:?}", photos.len(), photos.class_names());
/// let (train, validation) = Part::split(&photos, 0.2)?;
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ImageFolder {
    shape: [usize; 3],
    class_names: Vec<String>,
    /// Each image with its class index.
    images: Vec<(PathBuf, usize)>,
    left_out: usize,
    read: ReadImage,
}

impl ImageFolder {
    /// Lists the images in a folder, to be read as `(height, width, channels)`.
    ///
    /// # Errors
    /// [`Error::Io`] if a folder cannot be read, [`Error::Data`] if there is no image, and for a shape those of
    /// [`load_image`].
    pub fn open(folder: impl AsRef<Path>, shape: (usize, usize, usize)) -> Result<Self> {
        check_shape(shape)?;
        let folder = folder.as_ref();
        let (mut class_names, mut images, mut left_out) = (Vec::new(), Vec::new(), 0);
        let (classes, others): (Vec<_>, Vec<_>) =
            entries(folder, &mut left_out)?.into_iter().partition(|(_, path)| path.is_dir());
        left_out += others.len();
        check_apart(folder, &classes)?;
        for (name, path) in classes {
            list(&path, class_names.len(), &mut images, &mut left_out)?;
            class_names.push(name);
        }
        if images.is_empty() {
            let expected = format!("a folder for each class, with images in it ({})", EXTENSIONS.join(", "));
            return Err(Error::data(format!("image folder `{}`", folder.display()), expected, "no image"));
        }
        Ok(Self { shape: shape.into(), class_names, images, left_out, read: ReadImage::new(shape) })
    }

    /// The same images in an order that depends on `seed` alone.
    pub fn shuffled(mut self, seed: u64) -> Self {
        shuffle(&mut self.images, seed);
        self
    }

    /// The same images, read with other limits.
    pub fn limits(mut self, limits: &Limits) -> Self {
        self.read = self.read.limits(limits);
        self
    }

    /// The same images with numbers in another range than 0 to 1.
    pub fn pixels(mut self, pixels: PixelRange) -> Self {
        self.read = self.read.pixels(pixels);
        self
    }

    /// The same images with classes indexed in the order of `names`, such as those of the data that a model was trained
    /// on. Names without a folder are classes without images.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for a folder that is not among them, [`Error::Argument`] for names that are not distinct.
    pub fn with_class_names(mut self, names: &[String]) -> Result<Self> {
        check_class_names(names)?;
        let number = |own: &String| {
            let found = names.iter().position(|name| name == own);
            found.ok_or_else(|| Error::unknown("class (a folder of images)", own, names))
        };
        let numbers = self.class_names.iter().map(number).collect::<Result<Vec<_>>>()?;
        self.images.iter_mut().for_each(|(_, class)| *class = numbers[*class]);
        self.class_names = names.to_vec();
        Ok(self)
    }

    /// The number of files and folders skipped because they are hidden or lack an image extension.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Decodes every image and returns those that fail, in order, each with its error.
    pub fn broken(&self) -> Vec<(PathBuf, Error)> {
        let shape = self.shape.into();
        let fault = |(path, _): &(PathBuf, usize)| {
            let opened =
                open_file(path).and_then(|(file, _)| decode(path, BufReader::new(file), shape, &self.read.limits));
            opened.err().map(|error| (path.clone(), error))
        };
        self.images.par_iter().filter_map(fault).collect()
    }

    /// The same images without those at these paths.
    ///
    /// # Errors
    /// [`Error::Data`] if no image remains.
    pub fn without(mut self, paths: &[PathBuf]) -> Result<Self> {
        self.images.retain(|(path, _)| !paths.contains(path));
        if self.images.is_empty() {
            return Err(Error::data("image folder", "an image that is not broken", "none"));
        }
        Ok(self)
    }

    /// The names of the classes, in the order of their indices.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The images in order, each with its class index.
    pub fn images(&self) -> &[(PathBuf, usize)] {
        &self.images
    }
}

/// Adds the images in a class's folder and below it. Links to folders are not followed: they can form cycles.
fn list(folder: &Path, class: usize, images: &mut Vec<(PathBuf, usize)>, left_out: &mut usize) -> Result<()> {
    for (_, path) in entries(folder, left_out)? {
        let kind = fs::symlink_metadata(&path).map_err(Error::io("read", &path))?;
        if kind.is_dir() {
            list(&path, class, images, left_out)?;
        } else if is_image(&path) && path.is_file() {
            images.push((path, class));
        } else {
            *left_out += 1;
        }
    }
    Ok(())
}

impl Source for ImageFolder {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn x_shape(&self) -> &[usize] {
        &self.shape
    }

    fn y_shape(&self) -> &[usize] {
        &[]
    }

    fn read(&self, indices: &[usize], x: &mut [f32], y: &mut [f32]) -> Result<()> {
        check_request(indices, self.len(), &self.shape, x.len())?;
        check_request(indices, self.len(), &[], y.len())?;
        let [height, width, channels] = self.shape;
        // Decoding takes far longer than copying, hence one image per thread.
        let rows = x.par_chunks_exact_mut(height * width * channels).zip(indices);
        rows.try_for_each(|(row, &index)| {
            row.copy_from_slice(&self.read.file(&self.images[index].0)?);
            Ok(())
        })?;
        y.iter_mut().zip(indices).for_each(|(y, &index)| *y = self.images[index].1 as f32);
        Ok(())
    }

    fn targets(&self) -> Option<Samples> {
        Some(self.images.iter().map(|(_, class)| *class).collect::<Vec<_>>().into())
    }

    /// From the classes, and the name, length and modification time of each image, in order.
    fn fingerprint(&self) -> Result<Option<u64>> {
        let mut sum = Fingerprint::new();
        self.class_names.iter().for_each(|name| sum.add_bytes(name.as_bytes()));
        sum.add_bytes(self.read.pixels.name().as_bytes());
        // Reading all images would take as long as an epoch.
        const LOOKED_INTO: usize = 256;
        let step = self.images.len().div_ceil(LOOKED_INTO).max(1);
        for (index, (path, class)) in self.images.iter().enumerate() {
            sum.add(*class as u64);
            sum.add_bytes(path.file_name().unwrap_or_default().as_encoded_bytes());
            sum.add_length(path)?;
            if index % step == 0 {
                sum.add_start(path)?;
            }
        }
        Ok(Some(sum.finish()))
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, Rgb, RgbaImage};

    use super::*;

    /// A folder with classes `cat` and `dog`, an image in a nested folder, and files that are not images.
    fn zoo() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for name in ["dog", "cat/young", "empty", ".hidden", "__MACOSX/cat", "cat/.thumbs", "cat/young/__MACOSX"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        for (path, grey) in [("cat/b.png", 51), ("cat/a.bmp", 0), ("cat/young/c.PNG", 102), ("dog/d.png", 255)] {
            let format = if path.ends_with("bmp") { image::ImageFormat::Bmp } else { image::ImageFormat::Png };
            GrayImage::from_pixel(2, 2, Luma([grey])).save_with_format(at(path), format).unwrap();
        }
        fs::write(at("cat/notes.txt"), "no image").unwrap();
        fs::copy(at("dog/d.png"), at(".hidden/e.png")).unwrap();
        fs::copy(at("dog/d.png"), at("top.png")).unwrap();
        for hidden in ["__MACOSX/cat/f.png", "cat/.thumbs/g.png", "cat/young/__MACOSX/h.png"] {
            fs::copy(at("dog/d.png"), at(hidden)).unwrap();
        }
        for left_by_macos in ["._top.png", "dog/._d.png", "cat/young/._c.PNG", "__MACOSX/cat/._f.png"] {
            fs::write(at(left_by_macos), b"\0\x05\x16\x07Mac OS X").unwrap();
        }
        folder
    }

    #[test]
    fn one_and_three_channels_of_a_colour_image() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        let mut image = RgbImage::from_pixel(2, 1, Rgb([255, 0, 51]));
        image.put_pixel(1, 0, Rgb([0, 255, 0]));
        image.save(&path).unwrap();
        assert_eq!(load_image(&path, (1, 2, 3)).unwrap(), [1.0, 0.0, 0.2, 0.0, 1.0, 0.0]);
        // round(0.299 · 255 + 0.114 · 51) = 82 and round(0.587 · 255) = 150
        assert_eq!(load_image(&path, (1, 2, 1)).unwrap(), [82.0 / 255.0, 150.0 / 255.0]);
    }

    #[test]
    fn transparency_is_ignored_and_grey_spreads_to_three_channels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        RgbaImage::from_pixel(1, 1, image::Rgba([255, 51, 0, 0])).save(&path).unwrap();
        assert_eq!(load_image(&path, (1, 1, 3)).unwrap(), [1.0, 0.2, 0.0]);
        GrayImage::from_pixel(1, 1, Luma([51])).save(&path).unwrap();
        assert_eq!(load_image(&path, (1, 1, 3)).unwrap(), [0.2; 3]);
    }

    /// A PNG of one row with 16 bits per value.
    fn deep_png(path: &Path, colour: image::ExtendedColorType, channels: usize, values: &[u16]) {
        use image::{ImageEncoder, codecs::png::PngEncoder};
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
        let encoder = PngEncoder::new(fs::File::create(path).unwrap());
        encoder.write_image(&bytes, (values.len() / channels) as u32, 1, colour).unwrap();
    }

    #[test]
    fn grey_of_16_bits_keeps_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        let values = [0, 1, 1000, 1100, 32_767, 65_280, 65_535];
        deep_png(&path, image::ExtendedColorType::L16, 1, &values);
        let expected = values.map(|value| f32::from(value) / 65_535.0);
        assert_eq!(load_image(&path, (1, 7, 1)).unwrap(), expected);
        let three: Vec<f32> = expected.iter().flat_map(|value| [*value; 3]).collect();
        assert_eq!(load_image(&path, (1, 7, 3)).unwrap(), three);
        // Resized values lie between the originals, not on one of 256 levels.
        deep_png(&path, image::ExtendedColorType::L16, 1, &[1000, 1100]);
        let mean = load_image(&path, (1, 1, 1)).unwrap()[0] * 65_535.0;
        assert!((mean - 1050.0).abs() <= 1.0, "{mean}");

        // One value declared transparent (a chunk `tRNS` before the pixels) changes nothing.
        deep_png(&path, image::ExtendedColorType::L16, 1, &values);
        let mut file = fs::read(&path).unwrap();
        let chunk = b"tRNS\x03\xe8";
        let chunk = [&2_u32.to_be_bytes()[..], chunk, &png_crc(chunk).to_be_bytes()].concat();
        file.splice(33..33, chunk);
        fs::write(&path, file).unwrap();
        assert_eq!(load_image(&path, (1, 7, 1)).unwrap(), expected);
    }

    /// The checksum of a PNG's chunk (CRC-32, ISO 3309), bit by bit.
    fn png_crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
        })
    }

    #[test]
    fn other_16_bit_images_are_truncated_as_in_pillow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        // Pillow 13: 383 is 1 and 65,279 is 254, where rounding would give 1 and 254, and 128 would give 0 or 1.
        let values = [0, 255, 256, 383, 384, 511, 32_767, 65_279, 65_535];
        let cut = [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 127.0, 254.0, 255.0].map(|byte: f32| byte / 255.0);
        let with_alpha: Vec<u16> = values.iter().flat_map(|value| [*value, 40_000]).collect();
        deep_png(&path, image::ExtendedColorType::La16, 2, &with_alpha);
        assert_eq!(load_image(&path, (1, 9, 1)).unwrap(), cut);

        // Red v, green v / 2, blue 65535 − v.
        let colours: Vec<u16> = values.iter().flat_map(|value| [*value, value / 2, 65_535 - value]).collect();
        let with_alpha: Vec<u16> = colours.chunks(3).flat_map(|rgb| [rgb[0], rgb[1], rgb[2], 9000]).collect();
        for (colour, channels, values) in
            [(image::ExtendedColorType::Rgb16, 3, &colours), (image::ExtendedColorType::Rgba16, 4, &with_alpha)]
        {
            deep_png(&path, colour, channels, values);
            let rgb: Vec<f32> = load_image(&path, (1, 9, 3)).unwrap().into_iter().map(|value| value * 255.0).collect();
            assert_eq!(rgb[9..12], [1.0, 0.0, 254.0], "383, 191, 65152");
            assert_eq!(rgb[18..21], [127.0, 63.0, 128.0], "32767, 16383, 32768");
            assert_eq!(rgb[21..24], [254.0, 127.0, 1.0], "65279, 32639, 256");
            let grey: Vec<f32> = load_image(&path, (1, 9, 1)).unwrap().into_iter().map(|value| value * 255.0).collect();
            assert_eq!([grey[3], grey[6], grey[7]], [29.0, 90.0, 151.0]);
        }
    }

    #[test]
    fn another_size_is_resized_height_before_width() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        // Three rows of one value each; the width is one pixel.
        GrayImage::from_fn(1, 3, |_, y| Luma([y as u8 * 100])).save(&path).unwrap();
        let wide = load_image(&path, (3, 2, 1)).unwrap();
        assert_eq!(wide, [0.0, 0.0, 100.0 / 255.0, 100.0 / 255.0, 200.0 / 255.0, 200.0 / 255.0]);
        let small = load_image(&path, (1, 1, 1)).unwrap();
        assert!((small[0] - 100.0 / 255.0).abs() < 1e-6, "the mean of the three, as the filter is symmetric");
    }

    #[test]
    fn every_listed_format_is_decoded() {
        let folder = tempfile::tempdir().unwrap();
        for extension in EXTENSIONS {
            // The format is determined by the content, not by the name.
            let (path, named) = (folder.path().join("image"), folder.path().join(format!("p.{extension}")));
            RgbImage::from_pixel(8, 8, Rgb([255; 3])).save(&named).unwrap();
            fs::rename(&named, &path).unwrap();
            let pixels = load_image(&path, (8, 8, 3)).unwrap();
            assert!(pixels.iter().all(|&pixel| pixel > 0.98), "{extension}: {pixels:?}");
        }
    }

    #[test]
    fn hostile_images_and_shapes_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        GrayImage::from_fn(40, 40, |x, y| Luma([(x * y) as u8])).save(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for percent in (0..100).step_by(5) {
            fs::write(&path, &whole[..whole.len() * percent / 100]).unwrap();
            let error = load_image(&path, (40, 40, 1)).unwrap_err();
            assert!(matches!(error, Error::Broken { .. } | Error::Unsupported { .. }), "cut at {percent} %: {error}");
        }
        // A header of 60,000 × 60,000 pixels, checksum included, without the pixels.
        let bitmap = [
            &b"BM"[..],
            &[0; 8],
            &54_u32.to_le_bytes(),
            &40_u32.to_le_bytes(),
            &60_000_u32.to_le_bytes(),
            &60_000_u32.to_le_bytes(),
            &[1, 0, 24, 0],
            &[0; 24],
        ];
        fs::write(&path, bitmap.concat()).unwrap();
        assert!(matches!(load_image(&path, (28, 28, 1)), Err(Error::Unsupported { .. })));
        fs::write(&path, "this is a text").unwrap();
        assert!(matches!(load_image(&path, (28, 28, 1)), Err(Error::Broken { .. })));
        let nameless = folder.path().join("text");
        fs::rename(&path, &nameless).unwrap();
        assert!(matches!(load_image(&nameless, (28, 28, 1)), Err(Error::Unsupported { .. })));
        assert!(matches!(load_image("no/such.png", (28, 28, 1)), Err(Error::Io { .. })));
        for shape in [(0, 1, 1), (1, 0, 1), (1, 1, 2), (1, 1, 0), (1 << 20, 1, 1), (usize::MAX, 1, 3)] {
            assert!(matches!(load_image(&path, shape), Err(Error::Argument { .. })), "{shape:?}");
            assert!(matches!(ImageFolder::open(folder.path(), shape), Err(Error::Argument { .. })), "{shape:?}");
        }
    }

    #[test]
    fn folders_are_classes() {
        let zoo = zoo();
        let folder = ImageFolder::open(zoo.path(), (2, 2, 1)).unwrap();
        assert_eq!(folder.class_names(), ["cat", "dog", "empty"]);
        let names: Vec<_> = folder.images().iter().map(|(path, _)| path.strip_prefix(zoo.path()).unwrap()).collect();
        assert_eq!(names, ["cat/a.bmp", "cat/b.png", "cat/young/c.PNG", "dog/d.png"].map(Path::new));
        assert_eq!((folder.len(), folder.x_shape(), folder.y_shape()), (4, &[2, 2, 1][..], &[][..]));
        // Hidden: `.hidden`, `__MACOSX`, `._top.png`, `cat/.thumbs`, `cat/young/__MACOSX`, `._c.PNG`, `._d.png`; and
        // `top.png`, `cat/notes.txt`.
        assert_eq!(folder.left_out(), 9);

        let (mut x, mut y) = ([f32::NAN; 12], [f32::NAN; 3]);
        folder.read(&[3, 1, 2], &mut x, &mut y).unwrap();
        assert_eq!((x[..4].to_vec(), x[4..8].to_vec(), x[8..].to_vec()), (vec![1.0; 4], vec![0.2; 4], vec![0.4; 4]));
        assert_eq!(y, [1.0, 0.0, 0.0]);
        assert!(folder.read(&[4], &mut x[..4], &mut y[..1]).is_err());
        assert!(folder.read(&[0], &mut x, &mut y[..1]).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_between_classes_are_refused() {
        use std::os::unix::fs::symlink;
        for (target, said) in
            [(".", "the whole"), ("..", "the whole"), ("cat", "`cat`"), ("dog", "`dog`"), ("cat/young", "`cat`")]
        {
            let zoo = zoo();
            symlink(target, zoo.path().join("link")).unwrap();
            let error = ImageFolder::open(zoo.path(), (2, 2, 1)).unwrap_err();
            assert!(matches!(error, Error::Data { .. }), "{error}");
            let error = error.to_string();
            assert!(error.contains("`link`") && error.contains(said), "{target}: {error}");
        }
        let (zoo, elsewhere) = (zoo(), zoo());
        symlink(elsewhere.path().join("dog"), zoo.path().join("link")).unwrap();
        let folder = ImageFolder::open(zoo.path(), (2, 2, 1)).unwrap();
        assert_eq!((folder.len(), folder.class_names().len()), (5, 4));
        symlink(elsewhere.path().join("dog"), zoo.path().join("link2")).unwrap();
        assert!(ImageFolder::open(zoo.path(), (2, 2, 1)).unwrap_err().to_string().contains("`link2`"));
    }

    #[test]
    fn the_order_depends_on_the_seed() {
        let zoo = zoo();
        let folder = ImageFolder::open(zoo.path(), (2, 2, 1)).unwrap();
        let orders: Vec<_> = (0..20).map(|seed| folder.clone().shuffled(seed).images().to_vec()).collect();
        assert_eq!(orders[7], folder.clone().shuffled(7).images());
        assert!(orders.iter().any(|order| order != &orders[0]), "another seed, another order");
        for mut order in orders {
            order.sort();
            assert_eq!(order, folder.images(), "every image once, with its class");
        }
    }

    #[test]
    fn the_size_is_read_from_the_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        GrayImage::new(3, 2).save(&path).unwrap();
        assert_eq!(image_size(&path).unwrap(), (3, 2, true));
        RgbImage::new(3, 2).save(&path).unwrap();
        assert_eq!(image_size(&path).unwrap(), (3, 2, false));
        fs::write(&path, "a text").unwrap();
        assert!(image_size(&path).is_err());
    }

    #[test]
    fn given_class_names_determine_the_indices() {
        let zoo = zoo();
        let folder = ImageFolder::open(zoo.path(), (2, 2, 1)).unwrap().pixels(PixelRange::ZeroTo255);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let renamed = folder.clone().with_class_names(&names(&["dog", "horse", "cat", "empty"])).unwrap();
        let (mut x, mut y) = ([0.0; 8], [0.0; 2]);
        renamed.read(&[1, 3], &mut x, &mut y).unwrap();
        assert_eq!((x[0], x[4], y), (51.0, 255.0, [2.0, 0.0]));
        let error = folder.clone().with_class_names(&names(&["dog", "cats", "empty"])).unwrap_err().to_string();
        assert!(error.contains("`cat`, did you mean `cats`?"), "{error}");
        assert!(folder.with_class_names(&names(&["dog", "cat", "empty", "cat"])).is_err());
    }

    #[test]
    fn broken_images_are_found_and_skipped() {
        let zoo = zoo();
        fs::write(zoo.path().join("dog/d.png"), b"\x89PNG\r\n\x1a\n and no more").unwrap();
        let folder = ImageFolder::open(zoo.path(), (2, 2, 1)).unwrap();
        let broken = folder.broken();
        assert!(broken.len() == 1 && broken[0].0.ends_with("dog/d.png"), "{broken:?}");
        let paths: Vec<PathBuf> = broken.into_iter().map(|(path, _)| path).collect();
        let whole = folder.clone().without(&paths).unwrap();
        assert!(whole.len() == 3 && whole.broken().is_empty());
        let all: Vec<PathBuf> = folder.images().iter().map(|(path, _)| path.clone()).collect();
        assert!(folder.without(&all).is_err());
    }

    #[test]
    fn a_damaged_image_is_named_when_read() {
        let zoo = zoo();
        let folder = ImageFolder::open(zoo.path(), (2, 2, 1)).unwrap();
        fs::write(zoo.path().join("dog/d.png"), b"\x89PNG\r\n\x1a\n and no more").unwrap();
        let error = folder.read(&[0, 3], &mut [0.0; 8], &mut [0.0; 2]).unwrap_err();
        assert!(matches!(&error, Error::Broken { file, .. } if file.ends_with("d.png")), "{error}");
    }

    #[test]
    fn a_folder_without_images_is_an_error() {
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(ImageFolder::open(empty.path(), (2, 2, 1)), Err(Error::Data { .. })));
        assert!(matches!(ImageFolder::open(empty.path().join("none"), (2, 2, 1)), Err(Error::Io { .. })));
    }
}
