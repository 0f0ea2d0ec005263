//! Fingerprints that distinguish data sets of the same size.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// A 64-bit checksum over numbers, the same on every machine. It detects changed data; it is not cryptographic and does
/// not resist deliberate collisions.
///
/// ```
/// use brasa::datasets::Fingerprint;
/// let of = |values: &[f32]| {
///     let mut sum = Fingerprint::new();
///     sum.add_all(values.iter().map(|value| u64::from(value.to_bits())));
///     sum.finish()
/// };
/// assert_eq!(of(&[0.1, 0.2]), of(&[0.1, 0.2]));
/// assert_ne!(of(&[0.1, 0.2]), of(&[0.2, 0.1]));
/// ```
#[derive(Clone, Debug)]
pub struct Fingerprint {
    lanes: [u64; 4],
    count: usize,
}

/// Odd multipliers with well-mixed bits.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const LAST_FACTOR: u64 = 0xff51_afd7_ed55_8ccd;

impl Default for Fingerprint {
    fn default() -> Self {
        Self::new()
    }
}

impl Fingerprint {
    /// The fingerprint of nothing yet.
    pub fn new() -> Self {
        Self { lanes: [1, 2, 3, 4], count: 0 }
    }

    /// Adds a number.
    pub fn add(&mut self, number: u64) {
        let lane = &mut self.lanes[self.count % 4];
        let mixed = (*lane ^ number).wrapping_mul(FACTOR);
        // Multiplication carries no bit downwards.
        *lane = mixed ^ (mixed >> 32);
        self.count += 1;
    }

    /// Adds numbers, one after another.
    pub fn add_all(&mut self, numbers: impl IntoIterator<Item = u64>) {
        numbers.into_iter().for_each(|number| self.add(number));
    }

    /// Adds bytes and their number.
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        self.add_all(words.iter().map(|word| u64::from_le_bytes(*word)));
        self.add_all(rest.iter().copied().map(u64::from));
        self.add(bytes.len() as u64);
    }

    /// The fingerprint of everything added so far.
    pub fn finish(&self) -> u64 {
        let mut sum = self.count as u64;
        for lane in self.lanes {
            sum = (sum ^ lane).wrapping_mul(FACTOR);
            sum = (sum ^ (sum >> 33)).wrapping_mul(LAST_FACTOR);
            sum ^= sum >> 33;
        }
        sum
    }

    /// Adds a file's length.
    ///
    /// The modification time does not count: a copy of the same data is the same data.
    ///
    /// # Errors
    /// [`Error::Io`] if the file's metadata cannot be read.
    pub(super) fn add_length(&mut self, path: &Path) -> Result<()> {
        self.add(std::fs::metadata(path).map_err(Error::io("read", path))?.len());
        Ok(())
    }

    /// Adds the first bytes of a file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read.
    #[cfg_attr(not(feature = "images"), expect(dead_code, reason = "used for folders of images"))]
    pub(super) fn add_start(&mut self, path: &Path) -> Result<()> {
        const START: u64 = 64 << 10;
        let mut start = Vec::new();
        let file = File::open(path).map_err(Error::io("read", path))?;
        file.take(START).read_to_end(&mut start).map_err(Error::io("read", path))?;
        self.add_bytes(&start);
        Ok(())
    }

    /// Adds the content of a file: all of a short one; the length and samples of a long one.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read.
    pub(super) fn add_file(
        &mut self,
        path: &Path,
        file: &File,
        read_at: fn(&File, &mut [u8], u64) -> std::io::Result<()>,
    ) -> Result<()> {
        const WHOLE: u64 = 64 << 20;
        const STRETCH: u64 = 64 << 10;
        const STRETCHES: u64 = 256;
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        let (count, step) = if length <= WHOLE {
            (length.div_ceil(STRETCH), STRETCH)
        } else {
            self.add_length(path)?;
            (STRETCHES, (length - STRETCH) / (STRETCHES - 1))
        };
        let mut buffer = vec![0; STRETCH as usize];
        for index in 0..count {
            let from = index * step;
            let part = &mut buffer[..STRETCH.min(length - from) as usize];
            read_at(file, part, from).map_err(Error::io("read", path))?;
            self.add_bytes(part);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_every_place_and_every_length_counts() {
        let bytes: Vec<u8> = (0..100).collect();
        let of = |bytes: &[u8]| {
            let mut sum = Fingerprint::new();
            sum.add_bytes(bytes);
            sum.finish()
        };
        // Stored in files, so it must be the same on every machine and in every version.
        assert_eq!(of(&bytes), of(&bytes.clone()));
        let mut seen = std::collections::HashSet::from([of(&bytes), of(&bytes[..99]), of(&[])]);
        for bit in 0..800 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(of(&flipped)), "bit {bit}");
        }
        let mut swapped = bytes.clone();
        swapped.swap(0, 32);
        assert!(seen.insert(of(&swapped)));
    }
}
