//! `IntegerLookup`: maps integers to vocabulary indices.

use super::lookup::{Lookup, LookupMode, OovMethod, Salt, Unknown};
use super::string_lookup::{check_adaptable, document_len};
use super::vocabulary::{Counts, Vocabulary};
use crate::datasets::{Cells, Column, IntoSamples};
use crate::error::{Error, Result};
use crate::layers::host::{StoredVocabulary, forward_on_host};
use crate::layers::{BuiltIn, Call, HostLayer, Layer, Takes};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// The index of each integer in a vocabulary, or an encoding of it; with `invert` the reverse.
    ///
    /// The vocabulary is given, or learned from data by [`adapt`](Self::adapt). Directly after an input it runs on the
    /// host, where 64-bit integers are exact; behind other layers it takes floats, which are truncated.
    ///
    /// # Shapes
    /// `(batch, …)` → the same for `int`; `(batch, …, tokens)` for `one_hot`, which drops a last dimension of 1;
    /// `(batch, numbers)` → `(batch, tokens)` for `multi_hot`, `count` and `tf_idf`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(IntegerLookup::default().vocabulary([10, 20]).input_shape(2))?;
    /// let numbers = model.predict(&ndarray::array![[20i64, 1 << 60]])?;
    /// assert_eq!(numbers, ndarray::array![[2.0, 0.0]].into_dyn());
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct IntegerLookup {
        /// Whether indices are mapped to tokens.
        invert: bool = false,
        /// The maximum number of tokens, special ones included.
        max_tokens: Option<usize> = None,
        /// The number of indices for integers outside of the vocabulary.
        num_oov_indices: usize = 1,
        /// The token for such integers.
        oov_token: i64 = -1,
        /// The masked integer, with the index 0.
        mask_token: Option<i64> = None,
        /// The kind of output.
        output_mode: LookupMode = LookupMode::Int,
        /// Whether to pad encodings to the width `max_tokens`.
        pad_to_max_tokens: bool = false,
        /// The type of the vocabulary; only `int64`.
        vocabulary_dtype: String = "int64".to_owned(),
        /// The weights of the vocabulary's tokens, for `tf_idf`.
        idf_weights: Option<Vec<f32>> = None,
        /// The tokens, in the order of their indices.
        vocabulary: Vocabulary<i64> = Vocabulary::default(),
        /// The number of tokens, from a file that does not have the vocabulary.
        vocabulary_size: Option<usize> = None,
        /// How unknown integers are assigned one of several indices.
        oov_method: OovMethod = OovMethod::Floormod,
        /// The key of the hash, for `farmhash`.
        salt: Option<Salt> = None,
    }
}

impl IntegerLookup {
    /// Learns the vocabulary from the integers of `data`: the most frequent first, ties in descending order, as in
    /// Keras.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let layer = IntegerLookup::default().adapt(vec![5i64, 5, 7, -3])?;
    /// assert_eq!(layer.get_vocabulary()?, [-1, 5, 7, -3]);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] if the vocabulary was given, [`Error::Data`] for texts.
    pub fn adapt(mut self, data: impl IntoSamples) -> Result<Self> {
        let column = data.into_samples()?.column()?;
        self.adapt_to_columns(&mut std::iter::once(Ok(column)))?;
        Ok(self)
    }

    /// All tokens in the order of their indices, special ones included.
    ///
    /// # Errors
    /// [`Error::Argument`] for invalid arguments.
    pub fn get_vocabulary(&self) -> Result<Vec<i64>> {
        let lookup = self.lookup();
        lookup.check()?;
        Ok(lookup.all_tokens())
    }

    fn lookup(&self) -> Lookup<'_, i64> {
        Lookup {
            vocabulary: &self.vocabulary,
            weights: self.idf_weights.as_deref(),
            stored_size: self.vocabulary_size,
            max_tokens: self.max_tokens,
            num_oov: self.num_oov_indices,
            mask: self.mask_token.as_ref(),
            oov: &self.oov_token,
            mode: &self.output_mode,
            pad: self.pad_to_max_tokens,
            invert: self.invert,
            unknown: match self.oov_method {
                OovMethod::Farmhash => Unknown::Hash(self.salt.map(Salt::key)),
                _ => Unknown::Remainder,
            },
        }
    }
}

impl Layer for IntegerLookup {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.oov_method.check()?;
        if self.vocabulary_dtype != "int64" {
            return Err(Error::argument("vocabulary_dtype", "int64", &self.vocabulary_dtype));
        }
        if self.salt.is_some() && self.oov_method == OovMethod::Floormod {
            return Err(Error::argument("salt", "none, as `oov_method` is `floormod`", "a key"));
        }
        self.lookup().output_shape(input)
    }

    fn on_host(&self) -> Option<&dyn HostLayer> {
        Some(self)
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        forward_on_host(self, vec![input])
    }

    fn adapt_to_columns(&mut self, data: &mut dyn Iterator<Item = Result<Column>>) -> Result<()> {
        check_adaptable(self.vocabulary.is_set() && !self.vocabulary.is_adapted())?;
        let mut counts = Counts::<i64>::new();
        for column in data {
            let column = column?;
            for document in column.to_ints()?.chunks(document_len(column.shape())) {
                counts.next_document();
                document.iter().try_for_each(|token| counts.add(token))?;
            }
        }
        let special: Vec<&i64> = self.mask_token.iter().chain([&self.oov_token]).collect();
        let most = self.max_tokens.map(|most| most.saturating_sub(self.lookup().special().len()));
        let (tokens, weights) = counts.vocabulary(most, &special);
        self.idf_weights = (self.output_mode == LookupMode::TfIdf).then_some(weights);
        self.vocabulary = Vocabulary::adapted(tokens);
        self.lookup().check()
    }
}

impl HostLayer for IntegerLookup {
    fn takes(&self) -> Takes {
        Takes::Numbers
    }

    fn transform(&self, inputs: &[Column]) -> Result<Column> {
        let input = super::only(inputs)?;
        let numbers = input.to_ints()?;
        if self.invert {
            return Column::new(input.shape(), Cells::Int(self.lookup().inverted(&numbers)?));
        }
        self.lookup().transform(input.shape(), numbers.iter())
    }

    fn stored_vocabulary(&self) -> Result<Option<StoredVocabulary>> {
        self.lookup().stored(None)
    }
}

impl BuiltIn for IntegerLookup {
    fn examples() -> Vec<(Self, Shape)> {
        let layer = || Self::default().vocabulary([1, 2, 3]);
        vec![
            (layer(), Shape::batch_of((3, 2))),
            (layer().num_oov_indices(3usize).mask_token(0i64), Shape::batch_of(3)),
            (layer().num_oov_indices(2usize).oov_method("farmhash").salt(7i64), Shape::batch_of(3)),
            (layer().invert(true), Shape::batch_of(3)),
            (layer().output_mode("one_hot"), Shape::batch_of(1)),
            (layer().output_mode("multi_hot").max_tokens(9).pad_to_max_tokens(true), Shape::batch_of(3)),
            (layer().output_mode("tf_idf").idf_weights(vec![0.5, 1.0, 2.0]), Shape::batch_of(3)),
        ]
    }

    fn classes(&self) -> Option<usize> {
        Some(5)
    }
}
