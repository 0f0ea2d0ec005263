//! The Open Inference Protocol, version 2, with the extension for binary tensors.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use half::{bf16, f16};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value as Json, json};

use super::Shared;
use super::block::{Block, BlockBuilder, MOST_RANK, Values, shape_text};
use super::budget::RequestLimits;
use super::fault::{Fault, FaultResult};
use super::gate::{Address, find, json_response, predict, target};
use super::json::{from_base64, unknown, write_numbers, write_text};
use super::queue::Done;
use super::registry;
use super::signature::{Port, Signature, ValueKind};

/// The number of bytes of JSON at the start of a body; binary tensors follow.
const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// `/v2`.
pub(super) async fn server() -> Response {
    let json = json!({
        "name": "brasa",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data"],
    });
    json_response(json.to_string())
}

/// `/v2/health/live` and `/v2/health/ready`.
pub(super) async fn health(State(shared): State<Arc<Shared>>, Address(which): Address) -> Response {
    match which.as_str() {
        "live" => json_response(json!({ "live": true }).to_string()),
        "ready" => {
            let ready = !shared.draining.load(Ordering::Relaxed) && !shared.registry.names().is_empty();
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, json_response(json!({ "ready": ready }).to_string())).into_response()
        }
        _ => Fault::not_found("expected `live` or `ready`").into_response(),
    }
}

/// Everything below `/v2/models/`.
pub(super) async fn models(
    State(shared): State<Arc<Shared>>,
    Address(address): Address,
    method: Method,
    request: Request,
) -> Response {
    answer(shared, &address, method, request).await.unwrap_or_else(Fault::into_response)
}

async fn answer(shared: Arc<Shared>, address: &str, method: Method, request: Request) -> FaultResult<Response> {
    let (name, version, rest) = target(address)?;
    let served = find(&shared, name, version)?;
    if rest == "infer" {
        if method != Method::POST {
            return Err(Fault::method("POST", &method));
        }
        return Ok(predict(shared, served, request, decode, encode).await);
    }
    if method != Method::GET && method != Method::HEAD {
        return Err(Fault::method("GET", &method));
    }
    match rest {
        "" => {
            let ports = |ports: &[Port]| -> Json {
                let port = |port: &Port| json!({ "name": port.name, "datatype": port.kind.datatype(), "shape": port.shape_json() });
                ports.iter().map(port).collect()
            };
            let versions: Vec<String> = shared.registry.versions(name).iter().map(u64::to_string).collect();
            let json = json!({
                "name": served.name,
                "versions": versions,
                "platform": "brasa",
                "inputs": ports(&served.signature.inputs),
                "outputs": ports(&served.signature.outputs),
            });
            Ok(json_response(json.to_string()))
        }
        "ready" => Ok(json_response(json!({ "name": served.name, "ready": true }).to_string())),
        _ => Err(Fault::not_found("expected NAME, NAME/ready or NAME/infer, perhaps with /versions/V behind NAME")),
    }
}

/// A parameter: a single value.
#[derive(Clone, Debug, PartialEq)]
enum Parameter {
    Bool(bool),
    Whole(u64),
    Other(String),
}

impl<'de> Deserialize<'de> for Parameter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Single;
        impl Visitor<'_> for Single {
            type Value = Parameter;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a parameter: true, false, a number or a text")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Parameter, E> {
                Ok(Parameter::Bool(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Parameter, E> {
                Ok(Parameter::Whole(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Parameter, E> {
                Ok(Parameter::Other(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Parameter, E> {
                Ok(Parameter::Other(value.to_string()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Parameter, E> {
                Ok(Parameter::Other(crate::error::begun(value, 60)))
            }

            fn visit_unit<E>(self) -> Result<Parameter, E> {
                Ok(Parameter::Other(String::new()))
            }
        }
        deserializer.deserialize_any(Single)
    }
}

type Parameters = BTreeMap<String, Parameter>;

/// A request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Infer {
    id: Option<String>,
    #[serde(default)]
    parameters: Option<Parameters>,
    inputs: Vec<InferInput>,
    #[serde(default)]
    outputs: Option<Vec<InferOutput>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InferInput {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(default)]
    parameters: Option<Parameters>,
    data: Option<FlatList>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InferOutput {
    name: String,
    #[serde(default)]
    parameters: Option<Parameters>,
}

/// The values of lists, however deep they are: their shape is given separately.
#[derive(Debug, Default)]
struct FlatList {
    numbers: Vec<f64>,
    texts: Vec<String>,
    /// Whether booleans were among the numbers, and whether plain numbers were.
    bools: bool,
    plain: bool,
    /// The lengths of the lists by their depth, and whether others were among them, or values beside lists.
    sizes: Vec<usize>,
    uneven: bool,
    /// The depth of the values.
    depth: Option<usize>,
}

impl FlatList {
    fn number(&mut self, depth: usize, number: f64) {
        self.numbers.push(number);
        self.uneven |= *self.depth.get_or_insert(depth) != depth;
    }

    /// Whether the values are in a single list, or nested as the shape says.
    fn fits(&self, shape: &[usize]) -> bool {
        !self.uneven && (self.sizes.len() <= 1 || self.sizes == shape)
    }
}

impl<'de> Deserialize<'de> for FlatList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut flat = Self::default();
        let mut lengths = Vec::new();
        deserializer.deserialize_seq(NestedList { flat: &mut flat, lengths: &mut lengths, depth: 0 })?;
        flat.uneven |= flat.depth.is_some_and(|depth| depth != lengths.len());
        flat.sizes = lengths;
        Ok(flat)
    }
}

/// A list in a list.
struct NestedList<'a> {
    flat: &'a mut FlatList,
    /// The lengths of the first list of each depth.
    lengths: &'a mut Vec<usize>,
    depth: usize,
}

impl<'de> serde::de::DeserializeSeed<'de> for NestedList<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NestedList<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`data`: lists of numbers, of true and false, or of texts")
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.flat.number(self.depth, number);
        self.flat.plain = true;
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        self.flat.number(self.depth, exact(number as f64, number.to_string())?);
        self.flat.plain = true;
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        self.flat.number(self.depth, exact(number as f64, number.to_string())?);
        self.flat.plain = true;
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.flat.number(self.depth, f64::from(u8::from(value)));
        self.flat.bools = true;
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.flat.texts.push(text.to_owned());
        self.flat.uneven |= *self.flat.depth.get_or_insert(self.depth) != self.depth;
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if self.depth >= MOST_RANK {
            return Err(A::Error::custom(format!("`data`: expected up to {MOST_RANK} dimensions, received more")));
        }
        let is_first = self.lengths.len() == self.depth;
        if is_first {
            self.lengths.push(0);
        }
        let mut count = 0;
        loop {
            let part = NestedList { flat: &mut *self.flat, lengths: &mut *self.lengths, depth: self.depth + 1 };
            if list.next_element_seed(part)?.is_none() {
                break;
            }
            count += 1;
        }
        let known = std::mem::replace(&mut self.lengths[self.depth], count);
        self.flat.uneven |= !is_first && known != count;
        Ok(())
    }
}

/// Whole numbers of JSON go through floats of 64 bits.
fn exact<E: serde::de::Error>(value: f64, text: String) -> Result<f64, E> {
    match value.abs() < 9_007_199_254_740_992.0 {
        true => Ok(value),
        false => Err(E::custom(format!(
            "`data`: expected whole numbers below 2⁵³ in JSON (binary data has more), received {text}"
        ))),
    }
}

/// The parts of a request that shape its response.
pub(super) struct Wanted {
    id: Option<String>,
    /// The outputs by index, and whether each is wanted as bytes.
    outputs: Vec<(usize, bool)>,
}

/// Bytes of a text in memory without its characters, and of a number, in lists that grow.
const TEXT: usize = 2 * size_of::<String>();
const NUMBER: usize = size_of::<f64>();

/// The longest id of a request.
const LONGEST_ID: usize = 1000;

fn decode(
    body: &[u8],
    headers: &HeaderMap,
    signature: &Signature,
    allowed: &RequestLimits,
) -> FaultResult<(Wanted, Vec<Block>)> {
    decode_with(body, header_length(headers)?, signature, allowed)
}

/// Parses the header.
fn header_length(headers: &HeaderMap) -> FaultResult<Option<usize>> {
    let Some(value) = headers.get(&HEADER_LENGTH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    match text.parse() {
        Ok(length) => Ok(Some(length)),
        Err(_) => Err(Fault::expected("Inference-Header-Content-Length", "a number of bytes", format!("`{text}`"))),
    }
}

/// Parses a request, of which the first `json_length` bytes are JSON.
pub(super) fn decode_with(
    body: &[u8],
    json_length: Option<usize>,
    signature: &Signature,
    allowed: &RequestLimits,
) -> FaultResult<(Wanted, Vec<Block>)> {
    let length = json_length.unwrap_or(body.len());
    let Some((json, mut binary)) = body.split_at_checked(length) else {
        let expected = format!("up to {}, the length of the body", body.len());
        return Err(Fault::expected("Inference-Header-Content-Length", expected, length));
    };
    // Texts and numbers are collected before the shapes are looked at: for `"",` and `0,` that is many times their bytes.
    let ends = json.iter().fold([0usize; 2], |[quotes, commas], byte| {
        [quotes + usize::from(*byte == b'"'), commas + usize::from(*byte == b',')]
    });
    allowed.share.take((ends[0] / 2).saturating_mul(TEXT).saturating_add(ends[1].saturating_mul(NUMBER)))?;
    let infer: Infer = super::json::parse(json, std::marker::PhantomData)?;
    if infer.id.as_ref().is_some_and(|id| id.len() > LONGEST_ID) {
        return Err(Fault::expected("`id`", format!("up to {LONGEST_ID} bytes"), "more"));
    }
    let mut binary_outputs = false;
    for (key, value) in infer.parameters.iter().flatten() {
        match (key.as_str(), value) {
            ("binary_data_output", Parameter::Bool(value)) => binary_outputs = *value,
            _ => ignored(key, value, "binary_data_output (true or false)")?,
        }
    }
    let mut blocks: Vec<Option<Block>> = vec![None; signature.inputs.len()];
    for input in infer.inputs {
        let Some(index) = signature.input(&input.name) else {
            return Err(unknown("input", &input.name, &signature.inputs));
        };
        let port = &signature.inputs[index];
        let mut size = None;
        for (key, value) in input.parameters.iter().flatten() {
            match (key.as_str(), value) {
                ("binary_data_size", Parameter::Whole(bytes)) => size = Some(*bytes),
                _ => ignored(key, value, "binary_data_size (a number of bytes)")?,
            }
        }
        let shape = sizes(&input, port)?;
        let kind = Datatype::of(&input)?;
        let values = match (size, input.data) {
            (Some(_), Some(_)) => {
                let what = format!("input `{}`", input.name);
                return Err(Fault::expected(what, "`data` or `binary_data_size`", "both"));
            }
            (None, None) => {
                let what = format!("input `{}`", input.name);
                return Err(Fault::expected(what, "`data` or `binary_data_size`", "neither"));
            }
            (Some(size), None) => {
                let there = binary.len();
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                let Some((own, rest)) = binary.split_at_checked(size) else {
                    let what = format!("input `{}`", input.name);
                    return Err(Fault::expected(what, format!("{size} bytes behind the JSON"), there));
                };
                binary = rest;
                RawValues::Bytes(own)
            }
            (None, Some(flat)) => RawValues::Flat(flat),
        };
        let block = block(port, kind, &shape, values, allowed)?;
        if blocks[index].replace(block).is_some() {
            return Err(Fault::expected(format!("input `{}`", input.name), "it once", "it twice"));
        }
    }
    if !binary.is_empty() {
        return Err(Fault::expected(
            "the body",
            "no bytes behind those of the inputs",
            format!("{} more", binary.len()),
        ));
    }
    let blocks = blocks
        .into_iter()
        .zip(&signature.inputs)
        .map(|(block, port)| block.ok_or_else(|| Fault::expected(format!("input `{}`", port.name), "values", "none")));
    let blocks = blocks.collect::<FaultResult<Vec<_>>>()?;
    let outputs = match infer.outputs.filter(|outputs| !outputs.is_empty()) {
        None => (0..signature.outputs.len()).map(|index| (index, binary_outputs)).collect(),
        Some(outputs) => {
            let mut wanted: Vec<(usize, bool)> = Vec::new();
            for output in outputs {
                let Some(index) = signature.outputs.iter().position(|port| port.name == output.name) else {
                    return Err(unknown("output", &output.name, &signature.outputs));
                };
                if wanted.iter().any(|(known, _)| *known == index) {
                    return Err(Fault::expected(format!("output `{}`", output.name), "it once", "it twice"));
                }
                let mut binary = binary_outputs;
                for (key, value) in output.parameters.iter().flatten() {
                    match (key.as_str(), value) {
                        ("binary_data", Parameter::Bool(value)) => binary = *value,
                        _ => ignored(key, value, "binary_data (true or false)")?,
                    }
                }
                wanted.push((index, binary));
            }
            wanted
        }
    };
    Ok((Wanted { id: infer.id, outputs }, blocks))
}

/// Refuses a parameter that would change what is answered, or where tensors are; others, such as a priority, are left.
fn ignored(key: &str, value: &Parameter, valid: &str) -> FaultResult<()> {
    let changes = key.starts_with("shared_memory")
        || key.starts_with("sequence_")
        || ["binary_data", "binary_data_output", "binary_data_size", "classification"].contains(&key);
    let is_off = match value {
        Parameter::Bool(value) => !value,
        Parameter::Whole(value) => *value == 0,
        Parameter::Other(value) => value.is_empty(),
    };
    // An empty tensor has a size of 0, too, and is refused by its shape.
    if !changes || (is_off && !key.starts_with("binary_data")) {
        return Ok(());
    }
    let key = crate::error::begun(key, 60);
    Err(Fault::bad(format!("parameter `{key}` with {value:?} is not served; valid: {valid}")))
}

/// The sizes of an input as they are told.
fn sizes(input: &InferInput, port: &Port) -> FaultResult<Vec<usize>> {
    let sizes: Option<Vec<usize>> = input.shape.iter().map(|size| usize::try_from(*size).ok()).collect();
    match sizes.filter(|sizes| !sizes.is_empty() && sizes.len() <= MOST_RANK) {
        Some(sizes) => Ok(sizes),
        None => {
            let received = format!("{} dimensions", input.shape.len());
            Err(Fault::expected(format!("input `{}`", input.name), format!("shape {}", port.shape_text()), received))
        }
    }
}

/// The types of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Datatype {
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F16,
    Bf16,
    F32,
    F64,
    Bytes,
}

impl Datatype {
    const NAMES: [(&'static str, Self); 14] = [
        ("BOOL", Self::Bool),
        ("UINT8", Self::U8),
        ("UINT16", Self::U16),
        ("UINT32", Self::U32),
        ("UINT64", Self::U64),
        ("INT8", Self::I8),
        ("INT16", Self::I16),
        ("INT32", Self::I32),
        ("INT64", Self::I64),
        ("FP16", Self::F16),
        ("BF16", Self::Bf16),
        ("FP32", Self::F32),
        ("FP64", Self::F64),
        ("BYTES", Self::Bytes),
    ];

    fn of(input: &InferInput) -> FaultResult<Self> {
        let found = Self::NAMES.iter().find(|(name, _)| *name == input.datatype);
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            let names = Self::NAMES.map(|(name, _)| name).join(", ");
            Fault::expected(format!("the datatype of input `{}`", input.name), names, format!("`{}`", input.datatype))
        })
    }

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Bytes of a value; none where they differ.
    fn width(self) -> Option<usize> {
        match self {
            Self::Bool | Self::U8 | Self::I8 => Some(1),
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Bytes => None,
        }
    }

    /// The least and the largest whole number; none for other types.
    fn range(self) -> Option<(f64, f64)> {
        match self {
            Self::Bool => Some((0.0, 1.0)),
            Self::U8 => Some((0.0, f64::from(u8::MAX))),
            Self::U16 => Some((0.0, f64::from(u16::MAX))),
            Self::U32 => Some((0.0, f64::from(u32::MAX))),
            Self::U64 => Some((0.0, u64::MAX as f64)),
            Self::I8 => Some((f64::from(i8::MIN), f64::from(i8::MAX))),
            Self::I16 => Some((f64::from(i16::MIN), f64::from(i16::MAX))),
            Self::I32 => Some((f64::from(i32::MIN), f64::from(i32::MAX))),
            Self::I64 => Some((i64::MIN as f64, i64::MAX as f64)),
            _ => None,
        }
    }
}

/// The values of an input as they came.
enum RawValues<'a> {
    Bytes(&'a [u8]),
    Flat(FlatList),
}

/// The samples of an input.
fn block(
    port: &Port,
    kind: Datatype,
    shape: &[usize],
    raw: RawValues<'_>,
    allowed: &RequestLimits,
) -> FaultResult<Block> {
    let what = || format!("input `{}`", port.name);
    let count = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
    let Some(count) = count else {
        return Err(Fault::expected(what(), format!("shape {}", port.shape_text()), shape_text(shape)));
    };
    if shape[0] > allowed.rows {
        return Err(Fault::expected(what(), format!("up to {} samples", allowed.rows), shape[0]));
    }
    let many =
        |received: usize| Fault::expected(what(), format!("{count} values for shape {}", shape_text(shape)), received);
    if let RawValues::Flat(flat) = &raw
        && !flat.fits(shape)
    {
        let expected = format!("a list of values, or lists as shape {} says", shape_text(shape));
        return Err(Fault::expected(what(), expected, format!("lists of lengths {:?}", flat.sizes)));
    }
    if kind == Datatype::Bytes {
        let texts: Vec<Vec<u8>> = match raw {
            RawValues::Flat(flat) if flat.plain || flat.bools => {
                return Err(Fault::expected(what(), "texts for datatype BYTES", "numbers"));
            }
            // Bytes that are no text are in base64 in JSON.
            RawValues::Flat(flat) if port.kind == ValueKind::Float => {
                let bytes = flat.texts.iter().map(|text| from_base64(text));
                let bytes = bytes.collect::<Option<Vec<_>>>();
                bytes.ok_or_else(|| Fault::expected(what(), "images in base64", "other texts"))?
            }
            RawValues::Flat(flat) => flat.texts.into_iter().map(String::into_bytes).collect(),
            RawValues::Bytes(bytes) => with_lengths(bytes, &what)?,
        };
        if texts.len() != count {
            return Err(many(texts.len()));
        }
        return of_bytes(port, shape, texts, allowed);
    }
    if port.kind == ValueKind::Text {
        return Err(Fault::expected(what(), "datatype BYTES", kind.name()));
    }
    let values = match raw {
        RawValues::Flat(flat) => {
            if !flat.texts.is_empty() {
                return Err(Fault::expected(what(), format!("numbers for datatype {}", kind.name()), "texts"));
            }
            if flat.bools && (kind != Datatype::Bool || flat.plain) {
                return Err(Fault::expected(what(), format!("numbers for datatype {}", kind.name()), "true or false"));
            }
            if let Some((least, most)) = kind.range() {
                let outside = |number: &&f64| number.fract() != 0.0 || !(least..=most).contains(*number);
                if let Some(number) = flat.numbers.iter().find(outside) {
                    return Err(Fault::expected(what(), format!("values of datatype {}", kind.name()), number));
                }
            }
            match port.kind {
                ValueKind::Whole => Values::Whole(whole(flat.numbers.iter().copied(), &what)?),
                _ => Values::Float(flat.numbers.iter().map(|number| *number as f32).collect()),
            }
        }
        RawValues::Bytes(bytes) => {
            let width = kind.width().unwrap_or(1);
            if count.checked_mul(width) != Some(bytes.len()) {
                let expected = format!("{count} values of {width} bytes for shape {}", shape_text(shape));
                return Err(Fault::expected(what(), expected, format!("{} bytes", bytes.len())));
            }
            numbers(kind, bytes, port.kind, &what)?
        }
    };
    if values.len() != count {
        return Err(many(values.len()));
    }
    if let Values::Float(numbers) = &values
        && let Some(number) = numbers.iter().find(|number| !number.is_finite())
    {
        return Err(Fault::expected(what(), "finite numbers of 32 bits", number));
    }
    Block::new(port, shape, values)
}

/// Texts or images, one after another.
fn of_bytes(port: &Port, shape: &[usize], texts: Vec<Vec<u8>>, allowed: &RequestLimits) -> FaultResult<Block> {
    if port.kind == ValueKind::Text {
        let texts = texts.into_iter().map(String::from_utf8).collect::<Result<Vec<_>, _>>();
        let texts =
            texts.map_err(|_| Fault::expected(format!("input `{}`", port.name), "texts in UTF-8", "other bytes"))?;
        return Block::new(port, shape, Values::Text(texts));
    }
    if !matches!(shape, [_] | [_, 1]) {
        let received = shape_text(shape);
        return Err(Fault::expected(format!("input `{}`", port.name), "shape (None) or (None, 1) of images", received));
    }
    let mut taken = BlockBuilder::new(port, allowed);
    let rows = texts.len();
    let added = texts.into_iter().try_for_each(|bytes| taken.bytes(1, bytes)).and_then(|()| taken.rows(rows));
    added.map_err(|message| allowed.refused().unwrap_or_else(|| Fault::bad(message)))?;
    taken.block()
}

/// Texts with their lengths before them: four bytes, the lowest first.
fn with_lengths(mut bytes: &[u8], what: &dyn Fn() -> String) -> FaultResult<Vec<Vec<u8>>> {
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let cut = || Fault::expected(what(), "a length of four bytes and as many bytes, again and again", "fewer");
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (text, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        texts.push(text.to_vec());
        bytes = rest;
    }
    Ok(texts)
}

fn whole(numbers: impl Iterator<Item = f64>, what: &dyn Fn() -> String) -> FaultResult<Vec<i64>> {
    let one = |number: f64| match number.fract() == 0.0 && number.abs() < 9.0e18 {
        true => Ok(number as i64),
        false => Err(Fault::expected(what(), "whole numbers", number)),
    };
    numbers.map(one).collect()
}

/// The numbers of a type, the lowest byte first, as the model takes them.
fn numbers(kind: Datatype, bytes: &[u8], wanted: ValueKind, what: &dyn Fn() -> String) -> FaultResult<Values> {
    macro_rules! each {
        ($type:ty) => {
            bytes.as_chunks::<{ size_of::<$type>() }>().0.iter().map(|bytes| <$type>::from_le_bytes(*bytes))
        };
    }
    if kind == Datatype::Bool && bytes.iter().any(|byte| *byte > 1) {
        return Err(Fault::expected(what(), "bytes of 0 or 1 for datatype BOOL", "others"));
    }
    if wanted == ValueKind::Whole {
        let numbers = match kind {
            Datatype::Bool | Datatype::U8 => bytes.iter().copied().map(i64::from).collect(),
            Datatype::U16 => each!(u16).map(i64::from).collect(),
            Datatype::U32 => each!(u32).map(i64::from).collect(),
            Datatype::U64 => {
                let one = |number: u64| {
                    i64::try_from(number).map_err(|_| Fault::expected(what(), "whole numbers below 2⁶³", number))
                };
                each!(u64).map(one).collect::<FaultResult<_>>()?
            }
            Datatype::I8 => each!(i8).map(i64::from).collect(),
            Datatype::I16 => each!(i16).map(i64::from).collect(),
            Datatype::I32 => each!(i32).map(i64::from).collect(),
            Datatype::I64 => each!(i64).collect(),
            Datatype::F16 => whole(each!(f16).map(f64::from), what)?,
            Datatype::Bf16 => whole(each!(bf16).map(f64::from), what)?,
            Datatype::F32 => whole(each!(f32).map(f64::from), what)?,
            Datatype::F64 => whole(each!(f64), what)?,
            Datatype::Bytes => Vec::new(),
        };
        return Ok(Values::Whole(numbers));
    }
    Ok(Values::Float(match kind {
        Datatype::Bool | Datatype::U8 => bytes.iter().copied().map(f32::from).collect(),
        Datatype::U16 => each!(u16).map(f32::from).collect(),
        Datatype::U32 => each!(u32).map(|number| number as f32).collect(),
        Datatype::U64 => each!(u64).map(|number| number as f32).collect(),
        Datatype::I8 => each!(i8).map(f32::from).collect(),
        Datatype::I16 => each!(i16).map(f32::from).collect(),
        Datatype::I32 => each!(i32).map(|number| number as f32).collect(),
        Datatype::I64 => each!(i64).map(|number| number as f32).collect(),
        Datatype::F16 => each!(f16).map(f32::from).collect(),
        Datatype::Bf16 => each!(bf16).map(f32::from).collect(),
        Datatype::F32 => each!(f32).collect(),
        Datatype::F64 => each!(f64).map(|number| number as f32).collect(),
        Datatype::Bytes => Vec::new(),
    }))
}

fn encode(wanted: Wanted, done: Done, served: &registry::ServedModel) -> FaultResult<Response> {
    let mut out = Vec::new();
    let mut binary = Vec::new();
    out.extend_from_slice(b"{\"model_name\":");
    write_text(&mut out, &served.name);
    out.extend_from_slice(b",\"model_version\":");
    write_text(&mut out, &served.version.to_string());
    if let Some(id) = &wanted.id {
        out.extend_from_slice(b",\"id\":");
        write_text(&mut out, id);
    }
    out.extend_from_slice(b",\"outputs\":[");
    for (position, (index, is_binary)) in wanted.outputs.iter().enumerate() {
        let (Some(output), Some(port)) = (done.outputs.get(*index), served.signature.outputs.get(*index)) else {
            return Err(Fault::internal("the model gave fewer outputs than it has"));
        };
        if position > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"name\":");
        write_text(&mut out, &port.name);
        let shape: Vec<String> = output.shape.iter().map(usize::to_string).collect();
        out.extend_from_slice(format!(",\"datatype\":\"FP32\",\"shape\":[{}]", shape.join(",")).as_bytes());
        if *is_binary {
            let bytes = output.values.len() * size_of::<f32>();
            out.extend_from_slice(format!(",\"parameters\":{{\"binary_data_size\":{bytes}}}}}").as_bytes());
            binary.reserve(bytes);
            output.values.iter().for_each(|value| binary.extend_from_slice(&value.to_le_bytes()));
        } else {
            out.extend_from_slice(b",\"data\":[");
            write_numbers(&mut out, &output.values);
            out.extend_from_slice(b"]}");
        }
    }
    out.extend_from_slice(b"]}");
    if !wanted.outputs.iter().any(|(_, is_binary)| *is_binary) {
        return Ok(json_response(out));
    }
    let length = HeaderValue::from(out.len());
    out.append(&mut binary);
    let kind = HeaderValue::from_static("application/octet-stream");
    Ok(([(header::CONTENT_TYPE, kind), (HEADER_LENGTH, length)], out).into_response())
}
