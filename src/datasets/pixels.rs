//! Memory limits for images: for each, and for all that are being decoded.

use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use image::{ImageDecoder, ImageError, ImageReader};

use crate::error::{Error, Result};
use crate::formats::Limits;

/// Bytes per pixel of the largest image: the limit for one image while it is decoded, converted to grey or three 8-bit
/// channels and resized, and for all that threads decode concurrently.
const BYTES_A_PIXEL: u64 = 8;

/// The memory limit of a decoder besides the image itself.
const DECODER_BYTES: u64 = 64 << 20;

/// The bytes of all images that are being decoded.
static IN_USE: Mutex<u64> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// The memory reservation of one image; released on drop.
#[derive(Debug)]
pub(super) struct ImageMemory(u64);

impl ImageMemory {
    /// Waits until `bytes` can be reserved. An image that exceeds `most` waits until it is alone.
    fn wait_for(bytes: u64, most: u64) -> Self {
        let mut used = in_use();
        while *used > 0 && used.saturating_add(bytes) > most {
            used = FREED.wait(used).unwrap_or_else(PoisonError::into_inner);
        }
        *used = used.saturating_add(bytes);
        Self(bytes)
    }
}

impl Drop for ImageMemory {
    fn drop(&mut self) {
        let mut used = in_use();
        *used = used.saturating_sub(self.0);
        drop(used);
        FREED.notify_all();
    }
}

fn in_use() -> MutexGuard<'static, u64> {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The limits of a decoder before the image's size is known.
pub(super) fn header_limits() -> image::Limits {
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(DECODER_BYTES);
    limits
}

/// The decoder of an image to be read as height, width and channels, and its reservation; nothing is decoded yet.
///
/// # Errors
/// [`Error::Unsupported`] for an image of more pixels or bytes than the limits allow, and the decoder's errors about
/// its header.
pub(super) fn decoder<'a, R: std::io::BufRead + std::io::Seek + 'a>(
    path: &Path,
    mut reader: ImageReader<R>,
    (height, width, _): (usize, usize, usize),
    limits: &Limits,
) -> Result<(impl ImageDecoder + 'a, ImageMemory)> {
    reader.limits(header_limits());
    let mut decoder = reader.into_decoder().map_err(|error| about(path, error))?;
    let (own_width, own_height) = decoder.dimensions();
    let pixels = u64::from(own_width) * u64::from(own_height);
    if pixels > limits.pixels {
        return Err(Error::unsupported(
            format!("an image of {own_width} × {own_height} = {pixels} pixels, `{}`", path.display()),
            format!("up to {} (`Limits::pixels`)", limits.pixels),
        ));
    }
    // Decoded, as 8-bit colour and grey, halfway through resizing (four 32-bit numbers), and resized.
    let decoded = decoder.total_bytes();
    let halfway = u64::from(own_width).saturating_mul(height as u64).saturating_mul(16);
    let resized = (width as u64).saturating_mul(height as u64).saturating_mul(16);
    let bytes = [pixels.saturating_mul(4), halfway, resized].into_iter().fold(decoded, u64::saturating_add);
    let most = limits.pixels.saturating_mul(BYTES_A_PIXEL).saturating_add(DECODER_BYTES);
    if bytes > most {
        return Err(Error::unsupported(
            format!("the {bytes} bytes that it takes to decode `{}`", path.display()),
            format!("up to {most}, {BYTES_A_PIXEL} for each of `Limits::pixels`"),
        ));
    }
    let memory = ImageMemory::wait_for(bytes, most);
    let mut own = header_limits();
    own.max_alloc = Some(decoded.saturating_add(DECODER_BYTES));
    decoder.set_limits(own).map_err(|error| about(path, error))?;
    Ok((decoder, memory))
}

/// A decoder's error as an error about the file.
pub(super) fn about(path: &Path, error: ImageError) -> Error {
    match error {
        ImageError::Unsupported(error) => {
            Error::unsupported(format!("`{}`: {error}", path.display()), "PNG, JPEG, BMP, GIF, WebP")
        }
        error => Error::broken(path.display().to_string(), "its image", error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn threads_wait_for_memory() {
        const MOST: u64 = 1 << 40;
        let (now, highest) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let memory = ImageMemory::wait_for(MOST / 2 - 1_000_000_000, MOST);
                        let before = now.fetch_add(1, Ordering::SeqCst);
                        highest.fetch_max(before + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                        drop(memory);
                    }
                });
            }
        });
        // Other tests decode images concurrently, which can only lower the count.
        assert!((1..=2).contains(&highest.load(Ordering::SeqCst)), "{highest:?}");
        drop(ImageMemory::wait_for(u64::MAX, 1));
    }
}
