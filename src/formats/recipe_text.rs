//! The text of a recipe: limits, and the differences between two.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::limits::NAME_BYTES;
use crate::error::{Error, Result};
use crate::text::shortened;

/// The longest text of a recipe, in bytes.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// The most values of a recipe. Each takes some hundred bytes of memory.
pub(crate) const MOST_VALUES: usize = 50_000;

/// Rejects a text that would take far more memory than any recipe. Each value but the first of a list is preceded by
/// one of four characters.
pub(crate) fn check_size(file: &str, text: &str) -> Result<()> {
    if text.len() > MOST_BYTES {
        let what = format!("a recipe of {} bytes, `{file}`", text.len());
        return Err(Error::unsupported(what, format!("up to {MOST_BYTES}")));
    }
    if text.bytes().filter(|byte| b"=,[{".contains(byte)).count() > MOST_VALUES {
        return Err(Error::unsupported(format!("the number of values in `{file}`"), format!("up to {MOST_VALUES}")));
    }
    Ok(())
}

/// Keys that do not affect training.
const HARMLESS: &[&str] = &["fit.verbose", "fit.checkpoint_freq"];

/// The most characters shown of a value, and of a path.
const MOST_SHOWN: usize = 100;
const MOST_OF_PATH: usize = 200;

/// The differences between two recipes (TOML texts), as `key: old → new`; empty if they train the same. A text longer
/// than any recipe is compared as a whole.
///
/// ```
/// use brasa::recipe::differences;
/// let changes = differences("[fit]\nepochs = 3\nseed = 1\n", "[fit]\nepochs = 4\nseed = 1\n");
/// assert_eq!(changes, ["fit.epochs: 3 → 4"]);
/// ```
pub fn differences(old: &str, new: &str) -> Vec<String> {
    if old == new {
        return Vec::new();
    }
    match (read(old), read(new)) {
        (Some(old), Some(new)) => {
            let mut found = Vec::new();
            compare("", Some(&Value::Table(old)), Some(&Value::Table(new)), &mut found);
            found
        }
        _ => vec!["a text that is no recipe".to_owned()],
    }
}

/// A recipe's table, if the text is one: a checkpoint can hold any text in its place.
fn read(text: &str) -> Option<Table> {
    fn fits(value: &Value) -> bool {
        match value {
            Value::Table(table) => table_fits(table),
            Value::Array(values) => values.iter().all(fits),
            _ => true,
        }
    }
    fn table_fits(table: &Table) -> bool {
        table.iter().all(|(key, value)| key.len() <= NAME_BYTES && fits(value))
    }
    check_size("", text).ok()?;
    text.parse().ok().filter(table_fits)
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<String>) {
    if old == new || HARMLESS.contains(&path) {
        return;
    }
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (old, new) {
        (Some(Value::Table(old)), Some(Value::Table(new))) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            keys.into_iter().for_each(|key| compare(&join(key), old.get(key), new.get(key), found));
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.iter().chain(new).all(Value::is_table) => {
            (0..old.len().max(new.len()))
                .for_each(|index| compare(&join(&index.to_string()), old.get(index), new.get(index), found));
        }
        _ => {
            // A class given by name and one with arguments differ in these keys.
            let whole = old.zip(new).is_some_and(|(old, new)| old.is_table() != new.is_table());
            let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), |value| shown(value, whole));
            found.push(format!("{}: {} → {}", shortened(path, MOST_OF_PATH), shown(old), shown(new)));
        }
    }
}

fn shown(value: &Value, whole: bool) -> String {
    match value {
        Value::Table(table) if !whole => match table.get("class_name").and_then(Value::as_str) {
            Some(class) => class.to_owned(),
            None => "a table".to_owned(),
        },
        value => shortened(&value.to_string(), MOST_SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_named_by_their_keys() {
        let old = "[fit]\nepochs = 3\nverbose = 0\n[[layers]]\nclass_name = 'Dense'\nunits = 3\n";
        assert!(differences(old, &old.replace("verbose = 0", "verbose = 1")).is_empty());
        assert_eq!(differences(old, &old.replace("units = 3", "units = 4")), ["layers.0.units: 3 → 4"]);
        let more = format!("{old}[[layers]]\nclass_name = 'Flatten'\n");
        assert_eq!(differences(old, &more), ["layers.1: nothing → Flatten"]);
        let (name, table) = ("optimizer = 'adam'\n", "optimizer = { class_name = 'adam', beta_1 = 0.5 }\n");
        let expected = "optimizer: \"adam\" → { class_name = \"adam\", beta_1 = 0.5 }";
        assert_eq!(differences(name, table), [expected]);
        assert_eq!(differences(old, "no recipe"), ["a text that is no recipe"]);
    }

    /// A saved recipe is untrusted: its length and its keys are limited.
    #[test]
    fn long_texts_and_keys_are_not_shown() {
        for text in [format!("{}=1", "k".repeat(1025)), format!("a = [{}]", "0,".repeat(50_001))] {
            assert_eq!(differences(&text, "a = 1"), ["a text that is no recipe"]);
        }
        let deep = vec!["k".repeat(1000); 9].join(".");
        let changes = differences(&format!("{deep}=1"), &format!("{deep}=2"));
        assert!(changes.len() == 1 && changes[0].chars().count() < 220, "{changes:?}");
    }
}
