//! Shared by `StringLookup`, `IntegerLookup` and `TextVectorization`: the lookup of tokens' indices.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::OutputMode;
use super::hash::{SipKey, hash};
use super::vocabulary::{TOKEN_BYTES, Token, Vocabulary, as_lines};
use crate::config::choice;
use crate::datasets::{Cells, Column};
use crate::error::{Error, Result, begun};
use crate::layers::host::StoredVocabulary;
use crate::memory::check_room;
use crate::shape::{MOST_VALUES, Shape};

choice! {
    /// The encoding of tokens.
    pub enum LookupMode: "output mode" {
        /// The token's index.
        Int = "int",
        /// A one-hot row for each token.
        OneHot = "one_hot",
        /// One value per token of the vocabulary: 1 if it occurs in the sample, else 0.
        MultiHot = "multi_hot",
        /// The number of occurrences of each token of the vocabulary in the sample.
        Count = "count",
        /// That number times the token's inverse document frequency.
        TfIdf = "tf_idf",
    }
}

choice! {
    /// How an integer outside of the vocabulary is assigned its index.
    pub enum OovMethod: "method for unknown tokens" {
        /// By its remainder modulo the number of out-of-vocabulary indices.
        Floormod = "floormod",
        /// By a hash.
        Farmhash = "farmhash",
    }
}

/// The key of a hash in Keras's form: an integer, or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(pub [i64; 2]);

impl Salt {
    /// The key in two's complement.
    pub(super) fn key(self) -> SipKey {
        self.0.map(|number| number as u64)
    }
}

impl From<i64> for Salt {
    fn from(number: i64) -> Self {
        Self([number, number])
    }
}

crate::config::also_argument!(i64 => Salt);

impl crate::config::Argument<Option<Salt>> for i64 {
    fn into_argument(self) -> Option<Salt> {
        Some(self.into())
    }
}

impl crate::config::Argument<Option<Salt>> for [i64; 2] {
    fn into_argument(self) -> Option<Salt> {
        Some(Salt(self))
    }
}

impl Serialize for Salt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Salt {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Json::deserialize(deserializer)?;
        let pair = value.as_i64().map(|number| [number, number]);
        let pair = pair.or_else(|| serde_json::from_value(value).ok());
        pair.map(Self).ok_or_else(|| serde::de::Error::custom("an integer, or two of them"))
    }
}

/// How values outside of the vocabulary are assigned one of several indices.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unknown {
    Remainder,
    Hash(Option<SipKey>),
}

/// The arguments of a lookup.
pub(super) struct Lookup<'a, T: Token> {
    pub vocabulary: &'a Vocabulary<T>,
    pub weights: Option<&'a [f32]>,
    /// The size stored in a file that does not have the vocabulary.
    pub stored_size: Option<usize>,
    pub max_tokens: Option<usize>,
    pub num_oov: usize,
    pub mask: Option<&'a T::Ref>,
    pub oov: &'a T::Ref,
    pub mode: &'a LookupMode,
    pub pad: bool,
    pub invert: bool,
    pub unknown: Unknown,
}

/// The index of a value that is left out.
const LEFT_OUT: i64 = -1;

impl<'a, T: Token> Lookup<'a, T> {
    /// The special tokens, which precede all others.
    pub fn special(&self) -> Vec<&'a T::Ref> {
        let mask = self.mask.filter(|_| *self.mode == LookupMode::Int);
        mask.into_iter().chain(std::iter::repeat_n(self.oov, self.num_oov)).collect()
    }

    /// The first index of an unknown token, and that of the first token.
    fn starts(&self) -> (usize, usize) {
        let first = usize::from(self.mask.is_some() && *self.mode == LookupMode::Int);
        (first, first + self.num_oov)
    }

    /// Refuses invalid combinations of arguments.
    pub fn check(&self) -> Result<()> {
        /// Each is an index of the output, and a special token in token lists.
        const MAX_UNKNOWN: usize = 1 << 20;
        /// Token lists repeat the out-of-vocabulary token for each of its indices.
        const MAX_BYTES: usize = 1 << 26;
        self.mode.check()?;
        if self.num_oov > MAX_UNKNOWN {
            return Err(Error::argument("num_oov_indices", format!("at most {MAX_UNKNOWN}"), self.num_oov));
        }
        for (name, token) in [("oov_token", Some(self.oov)), ("mask_token", self.mask)] {
            let bytes = token.map_or(0, |token| T::hashed(token).len());
            if bytes > TOKEN_BYTES {
                return Err(Error::argument(name, format!("at most {TOKEN_BYTES} bytes"), bytes));
            }
        }
        let bytes = T::hashed(self.oov).len();
        if self.num_oov.saturating_mul(bytes) > MAX_BYTES {
            let expected = format!("at most {MAX_BYTES} bytes of `oov_token` for all of them");
            return Err(Error::argument("num_oov_indices", expected, format!("{} × {bytes}", self.num_oov)));
        }
        if let Some(most) = self.max_tokens.filter(|most| *most <= 1) {
            return Err(Error::argument("max_tokens", "None or an integer above 1", most));
        }
        if self.pad && self.max_tokens.is_none() {
            return Err(Error::argument("pad_to_max_tokens", "`max_tokens` to pad to", "none"));
        }
        if self.invert && *self.mode != LookupMode::Int {
            return Err(Error::argument("output_mode", "`int`, as `invert` is set", self.mode.name()));
        }
        let adapted = self.vocabulary.is_adapted();
        match (self.weights, *self.mode == LookupMode::TfIdf) {
            (Some(_), false) if !adapted => {
                return Err(Error::argument("idf_weights", "none, as `output_mode` is not `tf_idf`", "weights"));
            }
            (None, true) if self.vocabulary.is_set() => {
                return Err(Error::argument("idf_weights", "a weight for each token of the vocabulary", "nothing"));
            }
            (Some(weights), true) if weights.len() != self.vocabulary.tokens().len() => {
                let expected = format!("{} weights, one for each token", self.vocabulary.tokens().len());
                return Err(Error::argument("idf_weights", expected, weights.len()));
            }
            (Some(weights), true) if weights.iter().any(|weight| !weight.is_finite()) => {
                return Err(Error::argument("idf_weights", "finite numbers", "others"));
            }
            _ => {}
        }
        let skip = self.skip();
        self.vocabulary.check(skip)?;
        let inside = |token: &T::Ref| self.vocabulary.index_of(token, skip).is_some();
        if let Some(mask) = self.mask.filter(|mask| inside(mask)) {
            return Err(Error::argument(
                "mask_token",
                "a token that is not in the vocabulary",
                begun(format!("{mask:?}"), 80),
            ));
        }
        if self.invert && inside(self.oov) {
            let received = begun(format!("{:?}", self.oov), 80);
            return Err(Error::argument("oov_token", "a token that is not in the vocabulary, to `invert`", received));
        }
        let size = self.starts().1 + self.vocabulary.tokens().len() - skip;
        match self.max_tokens.filter(|most| self.vocabulary.is_set() && size > *most) {
            Some(most) => {
                let expected = format!("at most `max_tokens`, {most}, with the special tokens");
                Err(Error::argument("vocabulary", expected, format!("{size} tokens")))
            }
            None => Ok(()),
        }
    }

    /// The number of given tokens that are special ones.
    fn skip(&self) -> usize {
        self.vocabulary.specials(&self.special())
    }

    /// The tokens without special ones.
    fn tokens(&self) -> &'a [T] {
        &self.vocabulary.tokens()[self.skip()..]
    }

    /// The number of tokens, special ones included.
    pub fn size(&self) -> usize {
        self.starts().1 + self.tokens().len()
    }

    /// The width of an encoding: known without a vocabulary if it is padded, or stored in a file.
    pub fn width(&self) -> Result<usize> {
        if let Some(most) = self.max_tokens.filter(|_| self.pad) {
            return Ok(most);
        }
        match self.vocabulary.is_set() {
            true => Ok(self.size()),
            false => self.stored_size.ok_or_else(no_vocabulary),
        }
    }

    /// All tokens in the order of their indices.
    pub fn all_tokens(&self) -> Vec<T> {
        self.special().into_iter().map(ToOwned::to_owned).chain(self.tokens().iter().cloned()).collect()
    }

    /// The weights of `tf_idf` for all indices of the output.
    fn all_weights(&self) -> Result<Option<Vec<f32>>> {
        let Some(weights) = self.weights.filter(|_| *self.mode == LookupMode::TfIdf) else { return Ok(None) };
        let mut all = Vec::new();
        if self.skip() == 0 {
            // Unknown tokens have the average weight.
            let mean = weights.iter().map(|weight| f64::from(*weight)).sum::<f64>() / weights.len().max(1) as f64;
            all.resize(self.starts().1, mean as f32);
        }
        all.extend(weights);
        let width = self.width()?;
        check_room("the weights of a vocabulary", width)?;
        all.resize(width, 0.0);
        Ok(Some(all))
    }

    /// The vocabulary as files hold it.
    pub fn stored(&self, also_in: Option<&'static str>) -> Result<Option<StoredVocabulary>>
    where
        T: ToString,
    {
        if !self.vocabulary.is_set() {
            return Ok(None);
        }
        let lines = self.vocabulary.is_adapted().then(|| {
            let tokens: Vec<String> = self.all_tokens().iter().map(ToString::to_string).collect();
            as_lines(&tokens)
        });
        let weights = self.all_weights()?;
        // Keras reads an empty list as no vocabulary.
        let in_config = self.vocabulary.tokens().is_empty().then(|| {
            let tokens = self.all_tokens();
            let weights = weights.as_ref().map(|weights| weights.iter().copied().take(tokens.len()).collect());
            (json!(tokens), weights)
        });
        Ok(Some(StoredVocabulary { size: self.size(), lines: lines.flatten(), in_config, weights, also_in }))
    }

    /// The lookup table of tokens.
    pub fn finder(&self) -> Result<Finder<'_, 'a, T>> {
        self.check()?;
        if !self.vocabulary.is_set() {
            return Err(no_vocabulary());
        }
        let (first, start) = self.starts();
        Ok(Finder { lookup: self, skip: self.skip(), first, start, weights: self.all_weights()? })
    }

    /// The indices of tokens, in the encoding of the mode.
    pub fn transform<'b>(&self, shape: &[usize], tokens: impl Iterator<Item = &'b T::Ref>) -> Result<Column> {
        let finder = self.finder()?;
        let numbers = tokens.map(|token| finder.number(token)).collect::<Result<Vec<_>>>()?;
        finder.encode(shape, numbers)
    }

    /// The tokens of indices, for `invert`.
    pub fn inverted(&self, numbers: &[i64]) -> Result<Vec<T>> {
        self.check()?;
        if !self.vocabulary.is_set() {
            return Err(no_vocabulary());
        }
        let (first, start) = self.starts();
        let tokens = self.tokens();
        let token = |number: &i64| match usize::try_from(*number) {
            Ok(0) if first == 1 => self.mask.unwrap_or(self.oov).to_owned(),
            Ok(number) if number >= start => tokens.get(number - start).cloned().unwrap_or_else(|| self.oov.to_owned()),
            _ => self.oov.to_owned(),
        };
        Ok(numbers.iter().map(token).collect())
    }

    /// The output shape.
    pub fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.check()?;
        if *self.mode == LookupMode::Int {
            return Ok(input.clone());
        }
        as_encoding(self.mode).output_shape(input, self.width()?)
    }
}

/// The equivalent output mode of an encoding.
fn as_encoding(mode: &LookupMode) -> OutputMode {
    match mode {
        LookupMode::Int => OutputMode::Int,
        LookupMode::OneHot => OutputMode::OneHot,
        LookupMode::MultiHot => OutputMode::MultiHot,
        _ => OutputMode::Count,
    }
}

fn no_vocabulary() -> Error {
    Error::argument("vocabulary", "tokens, given or found by `adapt`", "nothing")
}

/// A lookup table.
pub(super) struct Finder<'b, 'a, T: Token> {
    lookup: &'b Lookup<'a, T>,
    skip: usize,
    first: usize,
    start: usize,
    weights: Option<Vec<f32>>,
}

impl<T: Token> Finder<'_, '_, T> {
    /// The index of a token; [`LEFT_OUT`] for a masked token without an index.
    pub fn number(&self, token: &T::Ref) -> Result<i64> {
        let lookup = self.lookup;
        if lookup.mask == Some(token) {
            return Ok(if self.first == 1 { 0 } else { LEFT_OUT });
        }
        if let Some(index) = lookup.vocabulary.index_of(token, self.skip) {
            return Ok((self.start + index) as i64);
        }
        let bucket = match lookup.num_oov {
            0 => {
                let expected = "tokens of the vocabulary, as `num_oov_indices` is 0";
                return Err(Error::data("inputs", expected, begun(format!("{token:?}"), 80)));
            }
            1 => 0,
            count => match lookup.unknown {
                Unknown::Remainder => remainder(&T::hashed(token), count),
                Unknown::Hash(key) => hash(&T::hashed(token), key) % count as u64,
            },
        };
        Ok(self.first as i64 + bucket as i64)
    }

    /// Encodes indices of this shape by the mode.
    pub fn encode(&self, shape: &[usize], numbers: Vec<i64>) -> Result<Column> {
        if *self.lookup.mode == LookupMode::Int {
            return Column::new(shape, Cells::Int(numbers));
        }
        encode(shape, &numbers, self.lookup.mode, self.lookup.width()?, self.weights.as_deref())
    }

    /// Counts the tokens of one sample into its row of the output.
    pub fn count(&self, numbers: &[i64], row: &mut [f32]) {
        count(numbers.iter().copied(), row, self.lookup.mode, self.weights.as_deref());
    }
}

/// The floored remainder of a number given in decimal, as of an `i64`.
fn remainder(text: &[u8], count: usize) -> u64 {
    let number: i64 = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    number.rem_euclid(i64::try_from(count).unwrap_or(i64::MAX)) as u64
}

/// Adds a sample's tokens to its row.
fn count(numbers: impl Iterator<Item = i64>, row: &mut [f32], mode: &LookupMode, weights: Option<&[f32]>) {
    for index in numbers.filter_map(|number| usize::try_from(number).ok()) {
        let Some(cell) = row.get_mut(index) else { continue };
        match mode {
            LookupMode::Count | LookupMode::TfIdf => *cell += 1.0,
            _ => *cell = 1.0,
        }
    }
    if let Some(weights) = weights {
        row.iter_mut().zip(weights).for_each(|(cell, weight)| *cell *= weight);
    }
}

/// Zeros for `rows` rows of `width` values.
pub(super) fn zeros(rows: usize, width: usize) -> Result<Vec<f32>> {
    let count = rows.checked_mul(width).filter(|count| *count <= MOST_VALUES);
    let count =
        count.ok_or_else(|| Error::shape(format!("at most {MOST_VALUES} values"), format!("({rows}, {width})")))?;
    check_room("an encoding of tokens", count)?;
    Ok(vec![0.0; count])
}

/// Encodes indices below `width` as zeros and ones or counts; other indices are left out.
pub(super) fn encode(
    shape: &[usize],
    numbers: &[i64],
    mode: &LookupMode,
    width: usize,
    weights: Option<&[f32]>,
) -> Result<Column> {
    if *mode == LookupMode::OneHot {
        let leading = if let [leading @ .., 1] = shape
            && !leading.is_empty()
        {
            leading
        } else {
            shape
        };
        let mut values = zeros(numbers.len(), width)?;
        for (row, number) in values.chunks_exact_mut(width.max(1)).zip(numbers) {
            count(std::iter::once(*number), row, mode, None);
        }
        return Column::new([leading, &[width]].concat(), Cells::Float(values));
    }
    // As in Keras along the second dimension, whatever follows it; a single row is one sample.
    let (outer, along, inner) = match shape {
        [along] => (vec![], *along, vec![]),
        [batch, along, inner @ ..] => (vec![*batch], *along, inner.to_vec()),
        [] => return Err(Error::shape("at least ndim=1", "a single value")),
    };
    let step: usize = inner.iter().product();
    let samples = outer.first().copied().unwrap_or(1);
    let mut values = zeros(samples.saturating_mul(step), width)?;
    for (index, row) in values.chunks_exact_mut(width.max(1)).enumerate() {
        let (sample, offset) = (index / step.max(1), index % step.max(1));
        let own = (0..along).map(|token| numbers[(sample * along + token) * step + offset]);
        count(own, row, mode, weights);
    }
    Column::new([&outer[..], &inner, &[width]].concat(), Cells::Float(values))
}

#[cfg(test)]
mod tests {
    use crate::datasets::Column;
    use crate::layers::{Layer, built_in};
    use crate::prelude::*;
    use serde_json::json;

    #[test]
    fn tf_idf_without_weights_is_refused_after_adapt() {
        let layer = TextVectorization::default().adapt(["a b", "a"]).unwrap().output_mode("tf_idf");
        let error = layer.on_host().unwrap().transform(&[["a"].into()]).unwrap_err().to_string();
        assert!(error.contains("`idf_weights`"), "{error}");
        let layer = StringLookup::default().adapt(["a", "b"]).unwrap().output_mode("tf_idf");
        assert!(layer.get_vocabulary().unwrap_err().to_string().contains("`idf_weights`"));
        let entry = built_in().iter().find(|entry| entry.class_name == "StringLookup").unwrap();
        let config = json!({ "vocabulary": { "adapted": ["a"] }, "output_mode": "tf_idf", "idf_weights": null });
        let layer = entry.layer(config.as_object().unwrap().clone()).unwrap();
        assert!(layer.on_host().unwrap().transform(&[["a"].into()]).is_err());
        // Adapted again it has the weights.
        let layer = StringLookup::default().adapt(["a"]).unwrap().output_mode("tf_idf").adapt(["a", "b"]).unwrap();
        assert_eq!(layer.get_vocabulary().unwrap(), ["[UNK]", "b", "a"]);
    }

    /// A layer's config is read back even if it has not found any token.
    #[test]
    fn an_empty_vocabulary_is_written_with_its_special_tokens() {
        let none = || Samples::texts([1], vec![String::new()]).unwrap();
        let layers: [Box<dyn Layer>; 4] = [
            Box::new(TextVectorization::default().adapt(none()).unwrap()),
            Box::new(TextVectorization::default().output_mode("tf_idf").adapt(none()).unwrap()),
            Box::new(StringLookup::default().mask_token("").adapt(none()).unwrap()),
            Box::new(IntegerLookup::default().adapt(vec![-1i64]).unwrap()),
        ];
        for layer in layers {
            let entry = built_in().iter().find(|entry| entry.class_name == layer.class_name()).unwrap();
            let config = layer.full_config().unwrap();
            let again = entry.layer(config.clone()).unwrap();
            assert_eq!(again.full_config().unwrap(), config);
            let column: Column = match layer.class_name() {
                "IntegerLookup" => vec![7i64].into(),
                _ => ["a"].into(),
            };
            let transform =
                |layer: &dyn Layer| layer.on_host().unwrap().transform(std::slice::from_ref(&column)).unwrap();
            assert_eq!(transform(&*again), transform(&*layer));
        }
    }

    #[test]
    fn special_tokens_have_limits() {
        let layer = || StringLookup::default().vocabulary(["a"]);
        let long = "x".repeat((1 << 20) + 1);
        let error = |layer: StringLookup| layer.get_vocabulary().unwrap_err().to_string();
        assert!(error(layer().oov_token(&*long)).contains("`oov_token`"));
        assert!(error(layer().mask_token(&*long)).contains("`mask_token`"));
        let half = "x".repeat(1 << 19);
        assert!(error(layer().oov_token(&*half).num_oov_indices(129usize)).contains("`num_oov_indices`"));
        assert_eq!(layer().oov_token(&*half).num_oov_indices(2usize).get_vocabulary().unwrap().len(), 3);
    }
}
