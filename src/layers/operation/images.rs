//! Operations on images.

use super::argument::Described;
use super::rules::{one, only};
use super::{Exported, Function, FunctionResult, OperationEntry, ValueKind};
use crate::config::Configure;
use crate::error::{Error, Result};
use crate::layers::{Arguments, Call, Edge, Exporting, Layer, Resizing};
use crate::ops::{Interpolation, Value};
use crate::shape::Shape;

pub(super) const ENTRIES: &[OperationEntry] = &[OperationEntry::new("keras.src.ops.image", "Resize", resize)];

/// Resizes images: the layer `Resizing`, with the size as a pair.
#[derive(Clone, Debug)]
struct Resize {
    layer: Resizing,
    is_nearest: bool,
}

fn resize(described: &mut Described) -> FunctionResult {
    described.expect_count(1)?;
    let size: Vec<usize> = described.require("size")?;
    let [height, width] = size[..] else {
        return Err(Error::argument("size", "rows and columns", format!("{} numbers", size.len())));
    };
    let mut config = std::mem::take(&mut described.config);
    let is_nearest = config.get("interpolation").and_then(serde_json::Value::as_str) == Some("nearest");
    config.shift_remove("dtype");
    config.insert("height".into(), height.into());
    config.insert("width".into(), width.into());
    let layer = Resizing::from_config(config)?;
    Ok(Box::new(Resize { layer, is_nearest }))
}

impl Function for Resize {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        Ok(vec![self.layer.output_shape(only(inputs)?)?])
    }

    fn kind(&self, inputs: &[ValueKind]) -> Result<ValueKind> {
        let kind = ValueKind::widest(inputs);
        if kind < ValueKind::Float && !self.is_nearest {
            let supported = format!("floats (by `Cast`), or `{}`", Interpolation::Nearest.name());
            return Err(Error::unsupported("interpolated integers", supported));
        }
        Ok(kind)
    }

    fn scratch(&self, inputs: &[Shape], _: &[Shape]) -> usize {
        inputs.first().and_then(|input| self.layer.scratch(input, false).ok()).unwrap_or(usize::MAX)
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let (inputs, shapes) = (vec![given.edges[0]], vec![given.shapes[0].clone()]);
        to.part(&self.layer, inputs, shapes, &Arguments::new(), &[]).map(Some)
    }

    fn compute(&self, inputs: Vec<Value>, _: &[Vec<usize>]) -> Result<Vec<Value>> {
        Ok(vec![self.layer.forward(one(inputs)?, &mut Call::inference(&[]))?])
    }
}
