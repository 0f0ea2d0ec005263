//! Tensors in JSON, parsed into blocks as they are read: no tree of values is made, so that a request takes no more
//! memory than a few times its body.

use std::fmt;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::block::{Block, BlockBuilder};
use super::budget::RequestLimits;
use super::fault::{Fault, FaultResult};
use super::signature::{Port, Signature};

/// The key of an object that holds bytes.
const B64: &str = "b64";

/// A list, or a value of a list, on its way into [`BlockBuilder`].
pub(super) struct Element<'t, 'p> {
    pub taken: &'t mut BlockBuilder<'p>,
    pub depth: usize,
}

impl<'de> DeserializeSeed<'de> for Element<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "values of input `{}`", self.taken.port.name)
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        self.taken.number(self.depth, number).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        self.taken.whole(self.depth, number).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        match i64::try_from(number) {
            Ok(number) => self.taken.whole(self.depth, number).map_err(E::custom),
            Err(_) => self.taken.number(self.depth, number as f64).map_err(E::custom),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.taken.text(self.depth, text).map_err(E::custom)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        Err(E::custom(self.taken.other(value)))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Err(E::custom(self.taken.other("null")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.taken.list(self.depth).map_err(A::Error::custom)?;
        let mut count = 0;
        while list.next_element_seed(Element { taken: self.taken, depth: self.depth + 1 })?.is_some() {
            count += 1;
            self.taken.grows(self.depth, count).map_err(A::Error::custom)?;
        }
        self.taken.ended(self.depth, count).map_err(A::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        match map.next_key::<Key>()? {
            Some(key) if key.0 == B64 => bytes(self.taken, self.depth, map),
            Some(key) => Err(A::Error::custom(self.taken.other(format!("an object with `{}`", key.0)))),
            None => Err(A::Error::custom(self.taken.other("an empty object"))),
        }
    }
}

/// The rest of `{"b64": …}`.
fn bytes<'de, A: MapAccess<'de>>(taken: &mut BlockBuilder<'_>, depth: usize, mut map: A) -> Result<(), A::Error> {
    let text: Key = map.next_value()?;
    let bytes = from_base64(&text.0).ok_or_else(|| {
        A::Error::custom(format!("input `{}`: expected base64 in `{B64}`, received other characters", taken.port.name))
    })?;
    if map.next_key::<IgnoredAny>()?.is_some() {
        return Err(A::Error::custom(format!("expected nothing but `{B64}` in its object, received another key")));
    }
    taken.bytes(depth, bytes).map_err(A::Error::custom)
}

/// Bytes in base64, with padding or without, in either alphabet.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const PLAIN: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, CONFIG);
    const FOR_ADDRESSES: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, CONFIG);
    PLAIN.decode(text).or_else(|_| FOR_ADDRESSES.decode(text)).ok()
}

/// A key or a text, borrowed where it can be.
pub(super) struct Key<'a>(pub std::borrow::Cow<'a, str>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(text.into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(text.to_owned().into()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The inputs of a request, as they are collected.
struct Inputs<'p> {
    taken: Vec<BlockBuilder<'p>>,
}

impl<'p> Inputs<'p> {
    fn new(signature: &'p Signature, allowed: &'p RequestLimits) -> Self {
        Self { taken: signature.inputs.iter().map(|port| BlockBuilder::new(port, allowed)).collect() }
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.taken.iter().map(|taken| format!("`{}`", taken.port.name)).collect();
        names.join(", ")
    }

    /// Values by the names of inputs: each has to be there, once. The first key has been read.
    fn named<'de, A: MapAccess<'de>>(
        &mut self,
        first: Option<Key<'de>>,
        depth: usize,
        mut map: A,
    ) -> Result<(), A::Error> {
        let mut seen = vec![false; self.taken.len()];
        let mut key = first;
        while let Some(name) = key {
            let Some(index) = self.taken.iter().position(|taken| taken.port.name == name.0) else {
                let name = crate::error::begun(&name.0, 60);
                return Err(A::Error::custom(format!("unknown input `{name}`; valid: {}", self.names())));
            };
            if std::mem::replace(&mut seen[index], true) {
                return Err(A::Error::custom(format!("expected input `{}` once, received it twice", name.0)));
            }
            map.next_value_seed(Element { taken: &mut self.taken[index], depth })?;
            key = map.next_key()?;
        }
        match seen.iter().position(|seen| !seen) {
            Some(index) => {
                let name = &self.taken[index].port.name;
                Err(A::Error::custom(format!("expected a value for input `{name}`, received none")))
            }
            None => Ok(()),
        }
    }

    /// The only input, for values without a name.
    fn only<E: serde::de::Error>(&mut self) -> Result<&mut BlockBuilder<'p>, E> {
        let names = self.names();
        match &mut self.taken[..] {
            [only] => Ok(only),
            _ => Err(E::custom(format!("expected an object with the inputs {names}, received values without names"))),
        }
    }
}

/// A sample (at depth 1) or all samples (at depth 0): the values of the only input, or an object of
/// several.
struct Whole<'t, 'p> {
    inputs: &'t mut Inputs<'p>,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Whole<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "values of {}", self.inputs.names())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        Element { taken: self.inputs.only()?, depth: self.depth }.visit_f64(number)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        Element { taken: self.inputs.only()?, depth: self.depth }.visit_i64(number)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        Element { taken: self.inputs.only()?, depth: self.depth }.visit_u64(number)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        Element { taken: self.inputs.only()?, depth: self.depth }.visit_str(text)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        Element { taken: self.inputs.only()?, depth: self.depth }.visit_bool(value)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Element { taken: self.inputs.only()?, depth: self.depth }.visit_unit()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        Element { taken: self.inputs.only()?, depth: self.depth }.visit_seq(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let first = map.next_key::<Key>()?;
        match &first {
            // An input may have the name, too.
            Some(key) if key.0 == B64 && self.inputs.taken.iter().all(|taken| taken.port.name != B64) => {
                bytes(self.inputs.only()?, self.depth, map)
            }
            _ => self.inputs.named(first, self.depth, map),
        }
    }
}

/// A list of samples.
struct SampleList<'t, 'p> {
    inputs: &'t mut Inputs<'p>,
}

impl<'de> DeserializeSeed<'de> for SampleList<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for SampleList<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of samples")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut count = 0;
        while list.next_element_seed(Whole { inputs: self.inputs, depth: 1 })?.is_some() {
            count += 1;
            for taken in &self.inputs.taken {
                taken.grows(0, count).map_err(A::Error::custom)?;
            }
        }
        self.inputs.taken.iter_mut().try_for_each(|taken| taken.rows(count)).map_err(A::Error::custom)
    }
}

/// The layout of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `instances`: a list of samples.
    Rows,
    /// `inputs`: for each input all samples.
    Columns,
}

/// A request of TensorFlow Serving.
struct Request<'t, 'p> {
    inputs: &'t mut Inputs<'p>,
}

impl<'de> DeserializeSeed<'de> for Request<'_, '_> {
    type Value = Layout;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Layout, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Request<'_, '_> {
    type Value = Layout;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `instances` or `inputs`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Layout, A::Error> {
        let mut layout = None;
        while let Some(key) = map.next_key::<Key>()? {
            match &*key.0 {
                "instances" | "inputs" if layout.is_some() => {
                    return Err(A::Error::custom("expected `instances` or `inputs` once, received a second"));
                }
                "instances" => {
                    map.next_value_seed(SampleList { inputs: self.inputs })?;
                    layout = Some(Layout::Rows);
                }
                "inputs" => {
                    map.next_value_seed(Whole { inputs: self.inputs, depth: 0 })?;
                    layout = Some(Layout::Columns);
                }
                "signature_name" => {
                    let name: Option<Key> = map.next_value()?;
                    let name = name.map(|name| name.0).unwrap_or_default();
                    if !["", "serving_default", "serve", "predict"].contains(&&*name) {
                        let name = crate::error::begun(&name, 60);
                        return Err(A::Error::custom(format!(
                            "`signature_name`: expected `serving_default`, received `{name}`"
                        )));
                    }
                }
                other => {
                    let other = crate::error::begun(other, 60);
                    return Err(A::Error::custom(format!(
                        "unknown key `{other}`; valid: `instances`, `inputs`, `signature_name`"
                    )));
                }
            }
        }
        layout.ok_or_else(|| A::Error::custom("expected `instances` or `inputs`, received neither"))
    }
}

/// Parses all of a body with a seed.
pub(super) fn parse<'de, S: DeserializeSeed<'de>>(body: &'de [u8], seed: S) -> FaultResult<S::Value> {
    let wrong = |error: serde_json::Error| match error.classify() {
        serde_json::error::Category::Data => Fault::bad(error.to_string()),
        _ => Fault::bad(format!("the body: expected JSON, received something else: {error}")),
    };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = seed.deserialize(&mut deserializer).map_err(wrong)?;
    deserializer.end().map_err(wrong)?;
    Ok(value)
}

/// A request of TensorFlow Serving: its layout, and the inputs in the model's order.
pub(super) fn tensorflow(
    body: &[u8],
    signature: &Signature,
    allowed: &RequestLimits,
) -> FaultResult<(Layout, Vec<Block>)> {
    let mut inputs = Inputs::new(signature, allowed);
    let parsed = parse(body, Request { inputs: &mut inputs });
    let layout = parsed.map_err(|fault| allowed.refused().unwrap_or(fault))?;
    let blocks = inputs.taken.into_iter().map(BlockBuilder::block).collect::<FaultResult<Vec<_>>>()?;
    Ok((layout, blocks))
}

/// Samples without more around them: the values of the only input, of one sample or of several; an object with the
/// inputs' names; or, where a single text or image is wanted, that.
pub(super) fn bare(body: &[u8], signature: &Signature, allowed: &RequestLimits) -> FaultResult<Vec<Block>> {
    let mut inputs = Inputs::new(signature, allowed);
    inputs.taken = inputs.taken.into_iter().map(BlockBuilder::or_sample).collect();
    let parsed = parse(body, Whole { inputs: &mut inputs, depth: 0 });
    parsed.map_err(|fault| allowed.refused().unwrap_or(fault))?;
    inputs.taken.into_iter().map(BlockBuilder::block_or_sample).collect()
}

/// Writes numbers of a shape as nested lists.
pub(super) fn write_nested(out: &mut Vec<u8>, values: &[f32], shape: &[usize]) {
    match shape {
        [] => write_number(out, values.first().copied().unwrap_or(f32::NAN)),
        [_, rest @ ..] => {
            out.push(b'[');
            if rest.is_empty() {
                write_numbers(out, values);
            } else {
                let width: usize = rest.iter().product();
                let parts = shape[0];
                for part in 0..parts {
                    if part > 0 {
                        out.push(b',');
                    }
                    write_nested(out, &values[part * width..(part + 1) * width], rest);
                }
            }
            out.push(b']');
        }
    }
}

/// Numbers with commas between them.
pub(super) fn write_numbers(out: &mut Vec<u8>, values: &[f32]) {
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_number(out, *value);
    }
}

/// A number as short as it can be; `null` for one that is not finite.
fn write_number(out: &mut Vec<u8>, value: f32) {
    // A vector takes whatever is written.
    let _ = serde_json::to_writer(out, &value);
}

/// A text as JSON.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    let _ = serde_json::to_writer(out, text);
}

/// The error for an unknown input or output.
pub(super) fn unknown(kind: &str, name: &str, ports: &[Port]) -> Fault {
    let name = crate::error::begun(name, 60);
    Fault::bad(format!("unknown {kind} `{name}`; valid: {}", Signature::names(ports)))
}
