//! Vocabularies: tokens in the order of their indices, given or learned from data.

use std::borrow::{Borrow, Cow};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use crate::config::Argument;
use crate::error::{Error, Result, begun};

/// The maximum length of a token in bytes: longer than any word, and than most texts.
pub(super) const TOKEN_BYTES: usize = 1 << 20;

/// The maximum number of tokens: float32 is exact for indices up to here.
const MAX_TOKENS: usize = 1 << 24;

/// The key under which a learned vocabulary is passed to a layer while a file is read.
pub(crate) const ADAPTED: &str = "adapted";

/// A token of a vocabulary: a `String` or an `i64`.
pub trait Token:
    Borrow<Self::Ref> + Clone + fmt::Debug + Ord + Hash + Serialize + Send + Sync + sealed::Sealed + 'static
{
    /// The borrowed form of a token, by which it is looked up.
    type Ref: Eq + Hash + Ord + ToOwned<Owned = Self> + fmt::Debug + Sync + ?Sized;

    /// The bytes to be hashed.
    #[doc(hidden)]
    fn hashed(token: &Self::Ref) -> Cow<'_, [u8]>;

    /// Parses a token from a JSON value.
    #[doc(hidden)]
    fn of_json(value: Json) -> Option<Self>;

    /// Parses a token from a line of a file.
    #[doc(hidden)]
    fn of_line(line: &str) -> Option<Self>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for String {}
    impl Sealed for i64 {}
}

impl Token for String {
    type Ref = str;

    fn hashed(token: &str) -> Cow<'_, [u8]> {
        Cow::Borrowed(token.as_bytes())
    }

    fn of_json(value: Json) -> Option<Self> {
        match value {
            Json::String(token) => Some(token),
            _ => None,
        }
    }

    fn of_line(line: &str) -> Option<Self> {
        Some(line.to_owned())
    }
}

impl Token for i64 {
    type Ref = i64;

    fn hashed(token: &i64) -> Cow<'_, [u8]> {
        Cow::Owned(token.to_string().into_bytes())
    }

    fn of_json(value: Json) -> Option<Self> {
        value.as_i64().or_else(|| Self::of_line(value.as_str()?))
    }

    fn of_line(line: &str) -> Option<Self> {
        line.parse().ok()
    }
}

/// The tokens of a layer, in the order of their indices: given as a list, or learned from data by the layer's `adapt`.
///
/// Clones share them.
///
/// ```
/// use brasa::prelude::*;
/// let layer = StringLookup::default().vocabulary(["cat", "dog"]);
/// assert_eq!(layer.get_vocabulary()?, ["[UNK]", "cat", "dog"]);
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone)]
pub struct Vocabulary<T: Token> {
    table: Option<Arc<TokenTable<T>>>,
    adapted: bool,
}

/// Tokens, with a lookup of their indices.
struct TokenTable<T> {
    tokens: Vec<T>,
    /// The last index of each token. The hasher is faster than SipHash on short tokens, and seeded at random as well.
    indices: HashMap<T, usize, RandomState>,
    /// The largest first index of a repeated token.
    repeated: Option<usize>,
}

impl<T: Token> Default for Vocabulary<T> {
    fn default() -> Self {
        Self { table: None, adapted: false }
    }
}

impl<T: Token> fmt::Debug for Vocabulary<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.table {
            None => formatter.write_str("none"),
            Some(table) => write!(formatter, "{} tokens", table.tokens.len()),
        }
    }
}

impl<T: Token> Vocabulary<T> {
    /// The tokens in this order, special ones included or not.
    pub fn new(tokens: impl IntoIterator<Item = T>) -> Self {
        let tokens: Vec<T> = tokens.into_iter().collect();
        let mut indices = HashMap::with_capacity_and_hasher(tokens.len(), RandomState::default());
        let mut repeated = None;
        for (index, token) in tokens.iter().enumerate() {
            repeated = repeated.max(indices.insert(token.clone(), index));
        }
        Self { table: Some(Arc::new(TokenTable { tokens, indices, repeated })), adapted: false }
    }

    /// Tokens learned from data: the layer can be adapted again, and a `.keras` file stores them in a separate member.
    pub(super) fn adapted(tokens: impl IntoIterator<Item = T>) -> Self {
        Self { adapted: true, ..Self::new(tokens) }
    }

    /// Whether there is a vocabulary, even an empty one.
    pub fn is_set(&self) -> bool {
        self.table.is_some()
    }

    /// Whether the tokens were learned from data.
    pub fn is_adapted(&self) -> bool {
        self.adapted
    }

    /// The tokens as they were given.
    pub fn tokens(&self) -> &[T] {
        self.table.as_ref().map_or(&[], |table| &table.tokens)
    }

    /// The number of first tokens that are these special ones: all, or none.
    pub(super) fn specials(&self, specials: &[&T::Ref]) -> usize {
        let tokens = self.tokens();
        let same = tokens.len() >= specials.len()
            && tokens.iter().zip(specials).all(|(token, special)| <T as Borrow<T::Ref>>::borrow(token) == *special);
        if same { specials.len() } else { 0 }
    }

    /// The index of a token among those after the first `skip`.
    pub(super) fn index_of(&self, token: &T::Ref, skip: usize) -> Option<usize> {
        self.table.as_ref()?.indices.get(token)?.checked_sub(skip)
    }

    /// Refuses tokens that are repeated after the first `skip`, too long or too many.
    pub(super) fn check(&self, skip: usize) -> Result<()> {
        let Some(table) = &self.table else { return Ok(()) };
        if table.tokens.is_empty() && !self.adapted {
            return Err(Error::argument("vocabulary", "at least one token", "an empty list"));
        }
        if table.tokens.len() > MAX_TOKENS {
            return Err(Error::argument("vocabulary", format!("at most {MAX_TOKENS} tokens"), table.tokens.len()));
        }
        if let Some(index) = table.repeated.filter(|index| *index >= skip) {
            let token = begun(format!("{:?}", table.tokens[index]), 80);
            return Err(Error::argument("vocabulary", "distinct tokens", format!("{token} twice")));
        }
        let long = table.tokens.iter().map(|token| T::hashed(token.borrow()).len()).find(|len| *len > TOKEN_BYTES);
        match long {
            None => Ok(()),
            Some(bytes) => Err(Error::argument(
                "vocabulary",
                format!("tokens of at most {TOKEN_BYTES} bytes"),
                format!("one of {bytes}"),
            )),
        }
    }
}

impl<T: Token> Serialize for Vocabulary<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.table {
            None => serializer.serialize_none(),
            Some(table) => table.tokens.serialize(serializer),
        }
    }
}

impl<'de, T: Token> Deserialize<'de> for Vocabulary<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = |values: Vec<Json>| -> Result<Vec<T>, D::Error> {
            let token = |value: Json| {
                let text = begun(&value, 80);
                T::of_json(value).ok_or_else(|| D::Error::custom(format!("a list of tokens, not with {text}")))
            };
            values.into_iter().map(token).collect()
        };
        match Json::deserialize(deserializer)? {
            Json::Null => Ok(Self::default()),
            Json::Array(values) => Ok(Self::new(list(values)?)),
            Json::Object(mut object) if object.len() == 1 => match object.remove(ADAPTED) {
                Some(Json::Array(values)) => Ok(Self::adapted(list(values)?)),
                _ => Err(D::Error::custom("a list of tokens")),
            },
            // A file from elsewhere must not cause other files to be read.
            Json::String(_) => Err(D::Error::custom("the tokens themselves: a vocabulary file is not read")),
            _ => Err(D::Error::custom("a list of tokens")),
        }
    }
}

macro_rules! strings {
    ($([$($generics:tt)*] $type:ty),* $(,)?) => {$(
        impl<$($generics)*> Argument<Vocabulary<String>> for $type {
            fn into_argument(self) -> Vocabulary<String> {
                Vocabulary::new(self.iter().map(|token| token.to_string()))
            }
        }
    )*};
}
strings!([const N: usize] [&str; N], [] Vec<&str>, [] &[&str], [] Vec<String>, [] &Vec<String>, [] &[String]);

macro_rules! integers {
    ($([$($generics:tt)*] $type:ty),* $(,)?) => {$(
        impl<$($generics)*> Argument<Vocabulary<i64>> for $type {
            fn into_argument(self) -> Vocabulary<i64> {
                Vocabulary::new(self.iter().copied())
            }
        }
    )*};
}
integers!([const N: usize] [i64; N], [] Vec<i64>, [] &[i64]);

/// Counts of tokens in data, and of the documents that contain them.
pub(super) struct Counts<T> {
    tokens: HashMap<T, Count, RandomState>,
    documents: u64,
}

#[derive(Clone, Copy, Default)]
struct Count {
    tokens: u64,
    documents: u64,
    /// The last document that contained it, counted from 1.
    last: u64,
}

impl<T: Token> Counts<T> {
    pub fn new() -> Self {
        Self { tokens: HashMap::default(), documents: 0 }
    }

    /// Begins the next document.
    pub fn next_document(&mut self) {
        self.documents += 1;
    }

    /// Counts a token of the document.
    ///
    /// # Errors
    /// [`Error::Data`] if it is longer than the limit.
    pub fn add(&mut self, token: &T::Ref) -> Result<()> {
        let count = match self.tokens.get_mut(token) {
            Some(count) => count,
            None => {
                let bytes = T::hashed(token).len();
                if bytes > TOKEN_BYTES {
                    let expected = format!("tokens of at most {TOKEN_BYTES} bytes");
                    return Err(Error::data("data to adapt to", expected, format!("one of {bytes}")));
                }
                self.tokens.entry(token.to_owned()).or_default()
            }
        };
        count.tokens += 1;
        if count.last != self.documents {
            count.last = self.documents;
            count.documents += 1;
        }
        Ok(())
    }

    /// The most frequent `most` tokens without the `special` ones, and their weights; ties are in descending order, as
    /// in Keras.
    pub fn vocabulary(self, most: Option<usize>, special: &[&T::Ref]) -> (Vec<T>, Vec<f32>) {
        let mut found: Vec<(T, Count)> = self.tokens.into_iter().collect();
        found.retain(|(token, _)| !special.contains(&token.borrow()));
        found.sort_unstable_by(|(a, count_a), (b, count_b)| {
            (Reverse(count_a.tokens), b).cmp(&(Reverse(count_b.tokens), a))
        });
        found.truncate(most.unwrap_or(usize::MAX));
        let documents = self.documents as f32;
        found.into_iter().map(|(token, count)| (token, (1.0 + documents / (1.0 + count.documents as f32)).ln())).unzip()
    }
}

/// Whether Python regards a character as a line end, which no token in a file of lines can contain.
fn ends_line(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Splits a vocabulary file into lines, as Python does.
pub(crate) fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(ends_line) {
        lines.push(&rest[..end]);
        let len =
            if rest[end..].starts_with("\r\n") { 2 } else { rest[end..].chars().next().map_or(1, char::len_utf8) };
        rest = &rest[end + len..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// The tokens as the text of such a file; `None` if they do not survive the round trip.
pub(super) fn as_lines(tokens: &[String]) -> Option<String> {
    let broken = tokens.iter().any(|token| token.contains(ends_line)) || tokens.last().is_some_and(String::is_empty);
    (!broken).then(|| tokens.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_python() {
        assert_eq!(lines("\n[UNK]\nz"), ["", "[UNK]", "z"]);
        assert_eq!(lines("a\r\nb\u{2028}c\u{b}\n"), ["a", "b", "c", ""]);
        assert!(lines("").is_empty());
        let whole = |tokens: &[&str]| as_lines(&tokens.iter().map(|token| (*token).to_owned()).collect::<Vec<_>>());
        assert_eq!(whole(&["", "[UNK]", "é"]).unwrap(), "\n[UNK]\né");
        assert!(whole(&["a\u{85}b"]).is_none() && whole(&["a", ""]).is_none());
    }

    #[test]
    fn a_path_is_not_followed() {
        let error = serde_json::from_str::<Vocabulary<String>>("\"/etc/hostname\"").unwrap_err().to_string();
        assert!(error.contains("is not read"), "{error}");
        assert!(serde_json::from_str::<Vocabulary<i64>>("[1, \"2\", \"x\"]").is_err());
        assert_eq!(serde_json::from_str::<Vocabulary<i64>>("[1, \"2\"]").unwrap().tokens(), [1, 2]);
    }

    #[test]
    fn repeated_and_overlong_tokens_are_refused() {
        let vocabulary = |tokens: &[&str]| Vocabulary::new(tokens.iter().map(|token| (*token).to_owned()));
        assert!(vocabulary(&["[UNK]", "[UNK]", "a"]).check(2).is_ok());
        let error = vocabulary(&["b", "a", "a", "b"]).check(0).unwrap_err().to_string();
        assert!(error.contains("`vocabulary`") && error.contains("\"a\" twice"), "{error}");
        assert!(vocabulary(&[]).check(0).is_err());
        let error = Vocabulary::new(["x".repeat(10 << 20)]).check(0).unwrap_err().to_string();
        assert!(error.contains("one of 10485760"), "{error}");
    }
}
