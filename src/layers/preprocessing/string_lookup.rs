//! `StringLookup`: maps strings to vocabulary indices.

use super::hash::SipKey;
use super::lookup::{Lookup, LookupMode, OovMethod, Salt, Unknown};
use super::vocabulary::{Counts, Vocabulary};
use crate::datasets::{Cells, Column, IntoSamples};
use crate::error::{Error, Result};
use crate::layers::host::StoredVocabulary;
use crate::layers::{BuiltIn, HostLayer, Layer, Takes};
use crate::shape::Shape;

crate::describe! {
    /// The index of each string in a vocabulary, or an encoding of it; with `invert` the reverse.
    ///
    /// The vocabulary is given, or learned from data by [`adapt`](Self::adapt). The layer runs on the host: in a model
    /// it comes directly after an input of strings.
    ///
    /// # Shapes
    /// `(batch, …)` → the same for `int`; `(batch, …, tokens)` for `one_hot`, which drops a last dimension of 1;
    /// `(batch, strings)` → `(batch, tokens)` for `multi_hot`, `count` and `tf_idf`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(StringLookup::default().vocabulary(["cat", "dog"]).input_shape(1))?;
    /// assert_eq!(model.predict(["dog", "cow"])?, ndarray::array![[2.0], [0.0]].into_dyn());
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct StringLookup {
        /// Whether indices are mapped to strings.
        invert: bool = false,
        /// The maximum number of tokens, special ones included.
        max_tokens: Option<usize> = None,
        /// The number of indices for strings outside of the vocabulary.
        num_oov_indices: usize = 1,
        /// The token for such strings.
        oov_token: String = "[UNK]".to_owned(),
        /// The masked string, with the index 0.
        mask_token: Option<String> = None,
        /// The kind of output.
        output_mode: LookupMode = LookupMode::Int,
        /// Whether to pad encodings to the width `max_tokens`.
        pad_to_max_tokens: bool = false,
        /// The weights of the vocabulary's tokens, for `tf_idf`.
        idf_weights: Option<Vec<f32>> = None,
        /// The tokens, in the order of their indices.
        vocabulary: Vocabulary<String> = Vocabulary::default(),
        /// The number of tokens, from a file that does not have the vocabulary.
        vocabulary_size: Option<usize> = None,
        /// Ignored: unknown strings are hashed.
        oov_method: OovMethod = OovMethod::Floormod,
        /// The key of the hash that assigns unknown strings one of several indices.
        salt: Option<Salt> = None,
        /// The encoding of the strings.
        encoding: String = "utf-8".to_owned(),
    }
}

impl StringLookup {
    /// Learns the vocabulary from the strings of `data`: the most frequent first, ties in descending order, as in
    /// Keras.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let layer = StringLookup::default().adapt(["b", "a", "b", "c"])?;
    /// assert_eq!(layer.get_vocabulary()?, ["[UNK]", "b", "c", "a"]);
    /// # Ok::<(), brasa::Error>(())
    /// ```
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
            num_oov: self.num_oov_indices,
            mask: self.mask_token.as_deref(),
            oov: &self.oov_token,
            mode: &self.output_mode,
            pad: self.pad_to_max_tokens,
            invert: self.invert,
            unknown: Unknown::Hash(self.salt.map(Salt::key) as Option<SipKey>),
        }
    }
}

/// Refuses encodings other than UTF-8.
pub(super) fn check_encoding(encoding: &str) -> Result<()> {
    match encoding.to_lowercase().as_str() {
        "utf-8" | "utf8" => Ok(()),
        _ => Err(Error::unsupported(format!("encoding {encoding:?}"), "utf-8")),
    }
}

/// Refuses to learn a vocabulary if one was given.
pub(super) fn check_adaptable(given: bool) -> Result<()> {
    match given {
        true => Err(Error::argument("vocabulary", "none, to learn it from data", "a given one")),
        false => Ok(()),
    }
}

/// The number of values per document, for `tf_idf`: a row, or a single value.
pub(super) fn document_len(shape: &[usize]) -> usize {
    shape.iter().skip(1).product::<usize>().max(1)
}

impl Layer for StringLookup {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check_encoding(&self.encoding)?;
        self.lookup().output_shape(input)
    }

    fn on_host(&self) -> Option<&dyn HostLayer> {
        Some(self)
    }

    fn adapt_to_columns(&mut self, data: &mut dyn Iterator<Item = Result<Column>>) -> Result<()> {
        check_adaptable(self.vocabulary.is_set() && !self.vocabulary.is_adapted())?;
        let mut counts = Counts::<String>::new();
        for column in data {
            let column = column?;
            for document in column.texts()?.chunks(document_len(column.shape())) {
                counts.next_document();
                document.iter().try_for_each(|token| counts.add(token))?;
            }
        }
        let mask: Vec<&str> = self.mask_token.as_deref().into_iter().chain([&*self.oov_token]).collect();
        let most = self.max_tokens.map(|most| most.saturating_sub(self.lookup().special().len()));
        let (tokens, weights) = counts.vocabulary(most, &mask);
        self.idf_weights = (self.output_mode == LookupMode::TfIdf).then_some(weights);
        self.vocabulary = Vocabulary::adapted(tokens);
        self.lookup().check()
    }
}

impl HostLayer for StringLookup {
    fn takes(&self) -> Takes {
        if self.invert { Takes::Numbers } else { Takes::Text }
    }

    fn gives_text(&self) -> bool {
        self.invert
    }

    fn transform(&self, inputs: &[Column]) -> Result<Column> {
        let input = super::only(inputs)?;
        if self.invert {
            return Column::new(input.shape(), Cells::Text(self.lookup().inverted(&input.to_ints()?)?));
        }
        self.lookup().transform(input.shape(), input.texts()?.iter().map(String::as_str))
    }

    fn stored_vocabulary(&self) -> Result<Option<StoredVocabulary>> {
        self.lookup().stored(None)
    }
}

impl BuiltIn for StringLookup {
    fn examples_of_text() -> Vec<(Self, Shape)> {
        let layer = || Self::default().vocabulary(["a", "b", "c"]);
        vec![
            (layer(), Shape::batch_of((3, 2))),
            (layer().num_oov_indices(3usize).salt(7i64).mask_token(""), Shape::batch_of(3)),
            (layer().output_mode("one_hot"), Shape::batch_of(1)),
            (layer().output_mode("count").max_tokens(9).pad_to_max_tokens(true), Shape::batch_of(3)),
            (layer().output_mode("tf_idf").idf_weights(vec![0.5, 1.0, 2.0]), Shape::batch_of(3)),
        ]
    }
}
