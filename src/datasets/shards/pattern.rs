//! Patterns of file names.

use crate::error::{Error, Result};

/// The most files.
const MOST_FILES: usize = 100_000;

/// Whether a pattern stands for files that have to be listed.
pub(super) fn has_wildcards(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

/// Refuses more files than a list may have.
pub(super) fn check_count(count: usize) -> Result<()> {
    if count <= MOST_FILES {
        return Ok(());
    }
    Err(Error::data("the files of shards", format!("up to {MOST_FILES}"), "more"))
}

/// The patterns that one with ranges of numbers stands for: `train-{000..002}.tar` is three, numbered as WebDataset's
/// shards are.
pub(super) fn expanded(pattern: &str) -> Result<Vec<String>> {
    let Some((before, first, last, width, after)) = range_in(pattern) else { return Ok(vec![pattern.to_owned()]) };
    let count = last.checked_sub(first).and_then(|count| usize::try_from(count).ok());
    let Some(count) = count.and_then(|count| count.checked_add(1)) else {
        return Err(Error::argument("path", "a range from a smaller number to a larger one", pattern));
    };
    check_count(count)?;
    let mut all = Vec::new();
    for rest in expanded(after)? {
        check_count(all.len().saturating_add(count))?;
        all.extend((first..=last).map(|number| format!("{before}{number:0width$}{rest}")));
    }
    all.sort();
    Ok(all)
}

/// The first `{A..B}` of a pattern: what is before, both numbers, their width, what is after.
fn range_in(pattern: &str) -> Option<(&str, u64, u64, usize, &str)> {
    pattern.match_indices('{').find_map(|(start, _)| {
        let (range, after) = pattern[start + 1..].split_once('}')?;
        let (first, last) = range.split_once("..")?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(first) || !is_number(last) || first.len() > 18 || last.len() > 18 {
            return None;
        }
        Some((&pattern[..start], first.parse().ok()?, last.parse().ok()?, first.len(), after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_expanded() {
        assert_eq!(expanded("a.tar").unwrap(), ["a.tar"]);
        assert_eq!(expanded("a-{08..11}.tar").unwrap(), ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]);
        assert_eq!(expanded("{0..1}/{0..1}").unwrap(), ["0/0", "0/1", "1/0", "1/1"]);
        assert_eq!(expanded("{x}{1..1}").unwrap(), ["{x}1"]);
        assert!(expanded("{3..1}").is_err());
        assert!(expanded("{0..999999999}").is_err());
        assert!(expanded("{0..99999}{0..99999}").is_err());
    }
}
