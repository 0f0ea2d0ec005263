//! `TextVectorization`: maps texts to token indices.

use std::borrow::Cow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::lookup::{Finder, Lookup, LookupMode, Unknown, zeros};
use super::string_lookup::{check_adaptable, check_encoding};
use super::vocabulary::{Counts, Vocabulary};
use crate::config::{Argument, choice};
use crate::datasets::{Cells, Column, IntoSamples};
use crate::error::{Error, Result};
use crate::layers::host::StoredVocabulary;
use crate::layers::{BuiltIn, HostLayer, Layer, Takes};
use crate::memory::check_room;
use crate::shape::Shape;

choice! {
    /// How a text is standardized before it is split.
    pub enum Standardize: "standardization" {
        /// Lower-cases ASCII letters and strips ASCII punctuation.
        LowerAndStripPunctuation = "lower_and_strip_punctuation",
        /// Lower-cases ASCII letters.
        Lower = "lower",
        /// Strips ASCII punctuation.
        StripPunctuation = "strip_punctuation",
    }
}

choice! {
    /// How a text is split into tokens.
    pub enum Split: "way to split" {
        /// At ASCII whitespace.
        Whitespace = "whitespace",
        /// After each character.
        Character = "character",
    }
}

/// The lengths of n-grams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Ngrams {
    /// All lengths from 1 to this.
    UpTo(usize),
    /// These lengths, in this order.
    Widths(Vec<usize>),
}

impl Argument<Option<Ngrams>> for usize {
    fn into_argument(self) -> Option<Ngrams> {
        Some(Ngrams::UpTo(self))
    }
}

impl<const N: usize> Argument<Option<Ngrams>> for [usize; N] {
    fn into_argument(self) -> Option<Ngrams> {
        Some(Ngrams::Widths(self.to_vec()))
    }
}

/// The masked token, and the token for unknown ones.
const MASK: &str = "";
const UNKNOWN: &str = "[UNK]";

/// The group in which Keras stores the vocabulary a second time.
const LOOKUP: &str = "_lookup_layer";

/// The maximum length of an `ngrams` list.
const MAX_WIDTHS: usize = 1000;

crate::describe! {
    /// Maps texts to the indices of their tokens in a vocabulary, or to an encoding of them: standardized, split,
    /// joined to n-grams and looked up as in Keras.
    ///
    /// The vocabulary is given, or learned from data by [`adapt`](Self::adapt). The layer runs on the host: in a model
    /// it comes directly after an input of strings.
    ///
    /// # Shapes
    /// `(batch,)` or `(batch, 1)` → `(batch, tokens)` for `int`, as long as the longest text of a batch or
    /// `output_sequence_length`; `(batch, vocabulary)` for `multi_hot`, `count` and `tf_idf`; `(batch, tokens,
    /// vocabulary)` for `one_hot`. Without `split` a row of strings is a row of tokens.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let texts = ["The cat sat.", "The dog sat, too"];
    /// let layer = TextVectorization::default().output_sequence_length(3).adapt(texts)?;
    /// assert_eq!(layer.get_vocabulary()?, ["", "[UNK]", "the", "sat", "too", "dog", "cat"]);
    ///
    /// let mut model = Sequential::new();
    /// model.add(layer.input_shape(1))?;
    /// assert_eq!(model.predict(["A cat!"])?, ndarray::array![[1.0, 6.0, 0.0]].into_dyn());
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct TextVectorization {
        /// The maximum number of tokens, special ones included.
        max_tokens: Option<usize> = None,
        /// How a text is standardized before it is split.
        standardize: Option<Standardize> = Some(Standardize::LowerAndStripPunctuation),
        /// How it is split.
        split: Option<Split> = Some(Split::Whitespace),
        /// The lengths of n-grams.
        ngrams: Option<Ngrams> = None,
        /// The kind of output.
        output_mode: LookupMode = LookupMode::Int,
        /// The number of tokens to which each text is padded or truncated, for `int`.
        output_sequence_length: Option<usize> = None,
        /// Whether to pad encodings to the width `max_tokens`.
        pad_to_max_tokens: bool = false,
        /// The tokens, in the order of their indices.
        vocabulary: Vocabulary<String> = Vocabulary::default(),
        /// The weights of the vocabulary's tokens, for `tf_idf`.
        idf_weights: Option<Vec<f32>> = None,
        /// The encoding of the texts.
        encoding: String = "utf-8".to_owned(),
        /// The number of tokens, from a file that does not have the vocabulary.
        vocabulary_size: Option<usize> = None,
    }
}

impl TextVectorization {
    /// Learns the vocabulary from texts: the most frequent tokens first, ties in descending order, as in Keras.
    ///
    /// # Errors
    /// [`Error::Argument`] if the vocabulary was given, [`Error::Data`] for numbers.
    pub fn adapt(mut self, data: impl IntoSamples) -> Result<Self> {
        let column = data.into_samples()?.column()?;
        self.adapt_to_columns(&mut std::iter::once(Ok(column)))?;
        Ok(self)
    }

    /// All tokens in the order of their indices, special ones included.
    ///
    /// # Errors
    /// [`Error::Argument`] for invalid arguments.
    pub fn get_vocabulary(&self) -> Result<Vec<String>> {
        let lookup = self.lookup();
        lookup.check()?;
        Ok(lookup.all_tokens())
    }

    fn lookup(&self) -> Lookup<'_, String> {
        Lookup {
            vocabulary: &self.vocabulary,
            weights: self.idf_weights.as_deref(),
            stored_size: self.vocabulary_size,
            max_tokens: self.max_tokens,
            num_oov: 1,
            mask: Some(MASK),
            oov: UNKNOWN,
            mode: &self.output_mode,
            pad: self.pad_to_max_tokens,
            invert: false,
            unknown: Unknown::Hash(None),
        }
    }

    fn check(&self) -> Result<()> {
        check_encoding(&self.encoding)?;
        self.standardize.as_ref().map_or(Ok(()), Standardize::check)?;
        self.split.as_ref().map_or(Ok(()), Split::check)?;
        match &self.ngrams {
            Some(Ngrams::UpTo(0)) => return Err(Error::argument("ngrams", "an integer above 0, or several", 0)),
            Some(Ngrams::Widths(widths)) if widths.contains(&0) || widths.is_empty() || widths.len() > MAX_WIDTHS => {
                let expected = format!("from 1 to {MAX_WIDTHS} integers above 0");
                return Err(Error::argument("ngrams", expected, crate::error::begun(format!("{widths:?}"), 80)));
            }
            _ => {}
        }
        if self.output_sequence_length.is_some() && self.output_mode != LookupMode::Int {
            let received = self.output_mode.name().to_owned();
            return Err(Error::argument("output_mode", "`int`, as `output_sequence_length` is set", received));
        }
        self.lookup().check()
    }

    /// Standardizes a text.
    fn standardized<'a>(&self, text: &'a str) -> Cow<'a, str> {
        // By bytes, which takes half the time: those of other characters are none of ASCII's.
        let strip = |map: fn(u8) -> u8| {
            let kept = text.bytes().filter(|byte| !byte.is_ascii_punctuation()).map(map).collect();
            Cow::Owned(String::from_utf8(kept).unwrap_or_default())
        };
        match &self.standardize {
            Some(Standardize::LowerAndStripPunctuation) => strip(|byte| byte.to_ascii_lowercase()),
            Some(Standardize::Lower) => Cow::Owned(text.to_ascii_lowercase()),
            Some(Standardize::StripPunctuation) => strip(|byte| byte),
            _ => Cow::Borrowed(text),
        }
    }

    /// Calls `each` with the first `most` tokens of a document: a text, or without `split` a row of tokens.
    fn for_each_token(&self, document: &[String], most: usize, mut each: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let texts: Vec<Cow<'_, str>> = document.iter().map(|text| self.standardized(text)).collect();
        if let (Some(Split::Whitespace), None) = (&self.split, &self.ngrams) {
            return texts.iter().flat_map(|text| words(text)).take(most).try_for_each(each);
        }
        let mut tokens = Vec::new();
        for text in &texts {
            match &self.split {
                Some(Split::Character) => {
                    tokens.extend(text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]))
                }
                Some(_) => tokens.extend(words(text)),
                None => tokens.push(text),
            }
        }
        let widths = match &self.ngrams {
            None => return tokens.into_iter().take(most).try_for_each(each),
            // No n-gram is longer than the text.
            Some(Ngrams::UpTo(widest)) => (1..=(*widest).min(tokens.len())).collect(),
            Some(Ngrams::Widths(widths)) => widths.clone(),
        };
        let made = widths.iter().map(|width| (tokens.len() + 1).saturating_sub(*width));
        check_room("the n-grams of a text", made.fold(0, usize::saturating_add).min(most))?;
        let bytes = ngram_bytes(&tokens, &widths, most);
        check_room("the characters of a text's n-grams", bytes.div_ceil(size_of::<f32>()))?;
        let mut joined = String::new();
        for row in widths.iter().flat_map(|width| tokens.windows(*width)).take(most) {
            joined.clear();
            for (index, token) in row.iter().enumerate() {
                if index > 0 {
                    joined.push(' ');
                }
                joined.push_str(token);
            }
            each(&joined)?;
        }
        Ok(())
    }

    /// The documents of a column, and whether each string is a sample by itself.
    fn documents<'a>(&self, input: &'a Column) -> Result<(std::slice::Chunks<'a, String>, bool)> {
        let texts = input.texts()?;
        match (input.shape(), &self.split) {
            ([_], None) if self.ngrams.is_some() => {
                Err(Error::shape("tokens of shape (batch, tokens), to be joined to `ngrams`", "[batch]"))
            }
            ([_], None) => Ok((texts.chunks(1), true)),
            ([_, width], None) => Ok((texts.chunks((*width).max(1)), false)),
            ([_] | [_, 1], Some(_)) => Ok((texts.chunks(1), false)),
            (shape, split) => {
                let expected = if split.is_some() { "(batch,) or (batch, 1)" } else { "(batch,) or (batch, tokens)" };
                Err(Error::shape(format!("texts of shape {expected}"), format!("{shape:?}")))
            }
        }
    }

    fn numbers(&self, finder: &Finder<'_, '_, String>, document: &[String]) -> Result<Vec<i64>> {
        let mut numbers = Vec::new();
        self.for_each_token(document, self.output_sequence_length.unwrap_or(usize::MAX), |token| {
            numbers.push(finder.number(token)?);
            Ok(())
        })?;
        Ok(numbers)
    }
}

/// The total bytes of the first `most` n-grams.
fn ngram_bytes(tokens: &[&str], widths: &[usize], most: usize) -> usize {
    let mut ends = vec![0usize];
    let mut end = 0;
    ends.extend(tokens.iter().map(|token| {
        end += token.len();
        end
    }));
    let starts =
        widths.iter().flat_map(|width| (0..(tokens.len() + 1).saturating_sub(*width)).map(move |at| (at, *width)));
    let bytes = starts.take(most).map(|(at, width)| ends[at + width] - ends[at] + width - 1);
    bytes.fold(0, usize::saturating_add)
}

/// The parts of a text between ASCII whitespace, including the vertical tab.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.bytes().position(|byte| !is_space(&byte))?;
        let word = &rest[start..];
        let end = word.as_bytes().iter().position(is_space).unwrap_or(word.len());
        rest = &word[end..];
        Some(&word[..end])
    })
}

impl Layer for TextVectorization {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.check()?;
        let expected = match (input.sizes(), &self.split) {
            ([_], None) if self.ngrams.is_some() => Some("tokens of shape (None, tokens), to be joined to `ngrams`"),
            ([_] | [_, Some(1)], _) | ([_, _], None) => None,
            (_, Some(_)) => Some("texts of shape (None,) or (None, 1)"),
            (_, None) => Some("tokens of shape (None,) or (None, tokens)"),
        };
        if let Some(expected) = expected {
            return Err(Error::shape(expected, input));
        }
        let batch = input.sizes().first().copied().flatten();
        let tokens = match (&self.split, &self.ngrams, input.sizes()) {
            // A string alone keeps its shape.
            (None, _, [_]) if self.output_mode == LookupMode::Int && self.output_sequence_length.is_none() => {
                return Ok(input.clone());
            }
            (None, None, [_, width]) => *width,
            (None, None, [_]) => Some(1),
            _ => None,
        };
        Ok(match self.output_mode {
            LookupMode::Int => Shape::new([batch, self.output_sequence_length.or(tokens)]),
            LookupMode::OneHot => Shape::new([batch, tokens, Some(self.lookup().width()?)]),
            _ => Shape::new([batch, Some(self.lookup().width()?)]),
        })
    }

    fn on_host(&self) -> Option<&dyn HostLayer> {
        Some(self)
    }

    fn adapt_to_columns(&mut self, data: &mut dyn Iterator<Item = Result<Column>>) -> Result<()> {
        check_adaptable(self.vocabulary.is_set() && !self.vocabulary.is_adapted())?;
        let mut counts = Counts::<String>::new();
        for column in data {
            let column = column?;
            for document in self.documents(&column)?.0 {
                counts.next_document();
                self.for_each_token(document, usize::MAX, |token| counts.add(token))?;
            }
        }
        let most = self.max_tokens.map(|most| most.saturating_sub(self.lookup().special().len()));
        let (tokens, weights) = counts.vocabulary(most, &[MASK, UNKNOWN]);
        self.idf_weights = (self.output_mode == LookupMode::TfIdf).then_some(weights);
        self.vocabulary = Vocabulary::adapted(tokens);
        self.check()
    }
}

impl HostLayer for TextVectorization {
    fn takes(&self) -> Takes {
        Takes::Text
    }

    fn transform(&self, inputs: &[Column]) -> Result<Column> {
        /// For fewer texts other threads do not pay off.
        const MIN_PARALLEL: usize = 16;
        self.check()?;
        let input = super::only(inputs)?;
        let (documents, single) = self.documents(input)?;
        let lookup = self.lookup();
        let finder = lookup.finder()?;
        let documents: Vec<&[String]> = documents.collect();
        let numbers = |document: &&[String]| self.numbers(&finder, document);
        let rows: Vec<Vec<i64>> = match documents.len() {
            ..MIN_PARALLEL => documents.iter().map(numbers).collect::<Result<_>>()?,
            _ => documents.par_iter().map(numbers).collect::<Result<_>>()?,
        };
        let batch = input.shape()[0];
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        match self.output_mode {
            LookupMode::Int if single && self.output_sequence_length.is_none() && longest <= 1 => {
                Column::new([batch], Cells::Int(rows.into_iter().flatten().collect()))
            }
            LookupMode::Int => {
                let len = self.output_sequence_length.unwrap_or(longest);
                let count = batch.saturating_mul(len);
                check_room("the tokens of texts", count.saturating_mul(2))?;
                let mut all = vec![0; count];
                all.chunks_mut(len.max(1)).zip(&rows).for_each(|(all, row)| all[..row.len()].copy_from_slice(row));
                Column::new([batch, len], Cells::Int(all))
            }
            LookupMode::OneHot => {
                let width = lookup.width()?;
                let mut all = zeros(batch.saturating_mul(longest), width)?;
                for (all, row) in all.chunks_mut(longest.saturating_mul(width).max(1)).zip(&rows) {
                    let rows = all.chunks_mut(width.max(1)).zip(row);
                    rows.for_each(|(one_hot, number)| finder.count(&[*number], one_hot));
                }
                Column::new([batch, longest, width], Cells::Float(all))
            }
            _ => {
                let width = lookup.width()?;
                let mut all = zeros(batch, width)?;
                all.chunks_mut(width.max(1)).zip(&rows).for_each(|(all, row)| finder.count(row, all));
                Column::new([batch, width], Cells::Float(all))
            }
        }
    }

    fn stored_vocabulary(&self) -> Result<Option<StoredVocabulary>> {
        self.lookup().stored(Some(LOOKUP))
    }
}

impl BuiltIn for TextVectorization {
    fn examples_of_text() -> Vec<(Self, Shape)> {
        let layer = || Self::default().vocabulary(["a", "b", "a b"]);
        vec![
            (layer().output_sequence_length(4), Shape::batch_of(1)),
            (layer().output_mode("multi_hot").ngrams(2usize), Shape::batch_of(1)),
            (layer().output_mode("count").standardize("lower").split("character"), Shape::batch_of(())),
            (layer().output_mode("tf_idf").idf_weights(vec![0.5, 1.0, 2.0]), Shape::batch_of(1)),
            (layer().split(None::<Split>), Shape::batch_of(3)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ngrams_join_tokens_of_one_sample() {
        let layer = TextVectorization::default().split(None::<Split>).ngrams(2usize).vocabulary(["a", "a b"]);
        assert!(layer.output_shape(&Shape::batch_of(())).is_err());
        assert!(layer.transform(&[["a", "b"].into()]).unwrap_err().to_string().contains("ngrams"));
        let row = Column::new([1, 2], Cells::Text(vec!["a".into(), "b".into()])).unwrap();
        assert_eq!(layer.transform(&[row]).unwrap().cells(), &Cells::Int(vec![2, 1, 3]));
    }

    #[test]
    fn ngrams_are_limited_in_bytes_and_made_lazily() {
        assert_eq!(ngram_bytes(&["ab", "c", "def"], &[1, 2, 3, 9], usize::MAX), 6 + (4 + 5) + 8);
        assert_eq!(ngram_bytes(&["ab", "c", "def"], &[1, 2], 4), 6 + 4);
        assert_eq!(ngram_bytes(&[], &[1], 4), 0);
        // All of them would take eighteen terabytes.
        let text = vec!["ab".repeat(2000); 3000].join(" ");
        let layer = TextVectorization::default().ngrams(1_000_000_000usize);
        assert!(matches!(layer.clone().adapt([&*text]), Err(Error::Memory { .. })));
        let layer = layer.vocabulary(["b"]).output_sequence_length(3);
        assert_eq!(layer.transform(&[[&*text].into()]).unwrap().cells(), &Cells::Int(vec![1, 1, 1]));
    }
}
