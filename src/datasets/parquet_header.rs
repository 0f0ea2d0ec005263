//! The sizes in the header of a Parquet page, and the schema in a file's description, read before anything is allocated
//! for them.

/// The deepest nesting of a header's parts.
const DEEPEST: usize = 16;

/// The deepest nesting of columns, and the most elements of the lists in a file's description.
const DEEPEST_COLUMN: usize = 64;
const MOST_ELEMENTS: u64 = 1 << 19;

/// A reader of Thrift's compact protocol, as far as headers need it.
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
                let (count, kind) = self.list()?;
                if depth >= DEEPEST {
                    return None;
                }
                for _ in 0..count {
                    match kind {
                        1 | 2 => self.skip(1)?,
                        kind => self.skip_value(kind, depth + 1)?,
                    }
                }
                Some(())
            }
            12 if depth < DEEPEST => {
                let mut field = 0;
                while let Some((number, kind)) = self.field(field)? {
                    field = number;
                    self.skip_value(kind, depth + 1)?;
                }
                Some(())
            }
            _ => None,
        }
    }

    /// The length of a list, and the type of its elements.
    fn list(&mut self) -> Option<(u64, u8)> {
        let start = self.byte()?;
        let count = if start >> 4 == 15 { self.number()? } else { u64::from(start >> 4) };
        // Each takes a byte or more, truth values too.
        (count <= self.0.len() as u64).then_some((count, start & 15))
    }

    /// The number and the type of the field after `last` in a structure; `Some(None)` at its end.
    fn field(&mut self, last: i64) -> Option<Option<(i64, u8)>> {
        let start = self.byte()?;
        if start == 0 {
            return Some(None);
        }
        let field = match start >> 4 {
            0 => self.signed()?,
            step => last.checked_add(i64::from(step))?,
        };
        Some(Some((field, start & 15)))
    }

    /// Reads the elements of a schema; `None` if they are not a tree, or too deep.
    fn schema(&mut self) -> Option<()> {
        let (count, kind) = self.list()?;
        if kind != 12 || count > MOST_ELEMENTS {
            return None;
        }
        // The children that are left of each element around the next one, and the number of all.
        let (mut around, mut all) = (Vec::new(), 0u64);
        for _ in 0..count {
            let (mut field, mut children) = (0, None);
            while let Some((number, kind)) = self.field(field)? {
                field = number;
                match (number, kind) {
                    (5, 5) if children.is_none() => children = Some(self.signed()?),
                    (1..=3 | 6..=9, 5) | (4, 8) | (10, 12) => self.skip_value(kind, 2)?,
                    (1..=10, _) => return None,
                    _ => self.skip_value(kind, 2)?,
                }
            }
            let children = u64::try_from(children.unwrap_or(0)).ok()?;
            all = all.checked_add(children).filter(|all| *all < count)?;
            while around.last() == Some(&0) {
                around.pop();
            }
            if let Some(left) = around.last_mut() {
                *left -= 1;
            }
            if children > 0 {
                around.push(children);
            }
            if around.len() > DEEPEST_COLUMN {
                return None;
            }
        }
        Some(())
    }
}

/// Checks the description at the end of a file; `None` if its schema is not a tree, too deep, or its lists too long.
pub(super) fn check_description(description: &[u8]) -> Option<()> {
    let (mut all, mut field) = (Compact(description.iter()), 0);
    while let Some((number, kind)) = all.field(field)? {
        field = number;
        match (number, kind) {
            (2, 9) => all.schema()?,
            (4 | 5 | 7, 9) if Compact(all.0.clone()).list()?.0 <= MOST_ELEMENTS => all.skip_value(kind, 1)?,
            (1, 5) | (3, 6) | (6 | 9, 8) | (8, 12) => all.skip_value(kind, 1)?,
            (1..=9, _) => return None,
            _ => all.skip_value(kind, 1)?,
        }
    }
    Some(())
}

/// The sizes of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PageSize {
    /// The larger of its sizes, with and without compression.
    pub bytes: usize,
    /// The bytes of its levels, if they are not compressed.
    pub levels: usize,
}

/// The sizes of a page; `None` if these bytes do not begin with a page's header.
pub(super) fn page_size(header: &[u8]) -> Option<PageSize> {
    let (mut sizes, mut largest) = ([false; 2], 0i64);
    let (mut all, mut field, mut levels) = (Compact(header.iter()), 0, None);
    while let Some((number, kind)) = all.field(field)? {
        field = number;
        match (number, kind) {
            (2 | 3, 4..=6) => {
                sizes[number as usize - 2] = true;
                let value = all.signed()?;
                // A negative size is none.
                largest = if value < 0 || largest < 0 { -1 } else { largest.max(value) };
            }
            // The second version of a page's header.
            (8, 12) if levels.is_none() => {
                let (mut sum, mut field) = (0usize, 0);
                while let Some((number, kind)) = all.field(field)? {
                    field = number;
                    match (number, kind) {
                        (5 | 6, 5) => sum = sum.checked_add(usize::try_from(all.signed()?).ok()?)?,
                        (5 | 6, _) => return None,
                        _ => all.skip_value(kind, 1)?,
                    }
                }
                levels = Some(sum);
            }
            (2 | 3 | 8, _) => return None,
            _ => all.skip_value(kind, 0)?,
        }
    }
    let bytes = usize::try_from(largest).ok().filter(|_| sizes == [true; 2])?;
    Some(PageSize { bytes, levels: levels.unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_size_is_found_wherever_it_stands() {
        // Type 0, 300 bytes without and 100 with compression, a structure with two numbers.
        let header = [0x15, 0, 0x15, 0xd8, 0x04, 0x15, 0xc8, 0x01, 0x2c, 0x15, 2, 0x15, 4, 0, 0];
        let size = |bytes| Some(PageSize { bytes, levels: 0 });
        assert_eq!(page_size(&header), size(300));
        assert_eq!(page_size(&header[..14]), None);
        // A second size with the field's number written out.
        let twice = [&header[..14], &[0x05, 0x04, 0x80, 0x80, 0x80, 0x80, 0x08, 0]].concat();
        assert_eq!(page_size(&twice), size(1 << 30));
        // Three and four bytes of levels.
        let second = [0x15, 6, 0x15, 0xd8, 0x04, 0x15, 0xc8, 0x01, 0x5c, 0x55, 6, 0x15, 8, 0, 0];
        assert_eq!(page_size(&second), Some(PageSize { bytes: 300, levels: 7 }));
        let negative = [0x15, 0, 0x15, 1, 0x15, 2, 0];
        assert_eq!(page_size(&negative), None);
        for bytes in [&[][..], &[0], &[0xff; 40], &[0x15, 0x80], &[0x19, 0xfc, 0xff, 0xff, 0xff, 0x0f]] {
            assert_eq!(page_size(bytes), None, "{bytes:?}");
        }
    }

    /// A description with a schema of elements with these numbers of children.
    fn described(children: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x15, 2, 0x19, 0xfc, children.len() as u8];
        for count in children {
            // A name, and the number doubled, as signed numbers are.
            bytes.extend([0x48, 1, b'a', 0x15, count * 2, 0]);
        }
        [bytes, vec![0]].concat()
    }

    #[test]
    fn a_schema_is_a_tree_of_few_levels() {
        for children in [&[2, 0, 0][..], &[2, 1, 0, 0], &[0], &[1; 64]] {
            let children = if children == [1; 64] { [children, &[0]].concat() } else { children.to_vec() };
            assert_eq!(check_description(&described(&children)), Some(()), "{children:?}");
        }
        let deep = [vec![1; 65], vec![0]].concat();
        for children in [&[3, 0][..], &[63, 0, 0], &[2, 2, 0], &deep[..]] {
            assert_eq!(check_description(&described(children)), None, "{children:?}");
        }
        // A second schema is looked at, too.
        let mut twice = described(&[1, 0]);
        twice.pop();
        let second = &described(&[60, 0])[3..];
        twice.extend([0x09, 4]);
        assert_eq!(check_description(&[&twice[..], second].concat()), None);
        assert_eq!(check_description(&[]), None);
    }
}
