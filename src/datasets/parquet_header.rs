//! The sizes in the header of a Parquet page, read before anything is allocated for it.

/// The deepest nesting of a header's parts.
const DEEPEST: usize = 16;

/// A reader of Thrift's compact protocol, as far as a page's header needs it.
struct Compact<'a>(std::slice::Iter<'a, u8>);

impl Compact<'_> {
    fn byte(&mut self) -> Option<u8> {
        self.0.next().copied()
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn skip(&mut self, bytes: u64) -> Option<()> {
        let bytes = usize::try_from(bytes).ok()?;
        (bytes <= self.0.len()).then(|| self.0 = self.0.as_slice()[bytes..].iter())
    }

    /// Skips a value of this type.
    fn skip_value(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            1 | 2 => Some(()),
            3 => self.skip(1),
            4..=6 => self.number().map(drop),
            7 => self.skip(8),
            8 => {
                let length = self.number()?;
                self.skip(length)
            }
            9 | 10 => {
                let start = self.byte()?;
                let count = if start >> 4 == 15 { self.number()? } else { u64::from(start >> 4) };
                // Each takes a byte or more, truth values too.
                if count > self.0.len() as u64 || depth >= DEEPEST {
                    return None;
                }
                for _ in 0..count {
                    match start & 15 {
                        1 | 2 => self.skip(1)?,
                        kind => self.skip_value(kind, depth + 1)?,
                    }
                }
                Some(())
            }
            12 if depth < DEEPEST => self.fields(depth + 1, |_, _| {}),
            _ => None,
        }
    }

    /// Reads a structure; `see` is given each of its integers.
    fn fields(&mut self, depth: usize, mut see: impl FnMut(i64, i64)) -> Option<()> {
        let mut field = 0i64;
        loop {
            let start = self.byte()?;
            if start == 0 {
                return Some(());
            }
            field = match start >> 4 {
                0 => self.signed()?,
                step => field.checked_add(i64::from(step))?,
            };
            match start & 15 {
                4..=6 => see(field, self.signed()?),
                kind => self.skip_value(kind, depth)?,
            }
        }
    }
}

/// The larger of a page's sizes, with and without compression; `None` if these bytes do not begin with a page's header.
pub(super) fn page_size(header: &[u8]) -> Option<usize> {
    let (mut sizes, mut largest) = ([false; 2], 0i64);
    Compact(header.iter()).fields(0, |field, value| {
        if let 2 | 3 = field {
            sizes[field as usize - 2] = true;
            // A negative size is none.
            largest = if value < 0 || largest < 0 { -1 } else { largest.max(value) };
        }
    })?;
    usize::try_from(largest).ok().filter(|_| sizes == [true; 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_size_is_found_wherever_it_stands() {
        // Type 0, 300 bytes without and 100 with compression, a structure with two numbers.
        let header = [0x15, 0, 0x15, 0xd8, 0x04, 0x15, 0xc8, 0x01, 0x2c, 0x15, 2, 0x15, 4, 0, 0];
        assert_eq!(page_size(&header), Some(300));
        assert_eq!(page_size(&header[..14]), None);
        // A second size with the field's number written out.
        let twice = [&header[..14], &[0x05, 0x04, 0x80, 0x80, 0x80, 0x80, 0x08, 0]].concat();
        assert_eq!(page_size(&twice), Some(1 << 30));
        let negative = [0x15, 0, 0x15, 1, 0x15, 2, 0];
        assert_eq!(page_size(&negative), None);
        for bytes in [&[][..], &[0], &[0xff; 40], &[0x15, 0x80], &[0x19, 0xfc, 0xff, 0xff, 0xff, 0x0f]] {
            assert_eq!(page_size(bytes), None, "{bytes:?}");
        }
    }
}
