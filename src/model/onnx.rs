//! Models as ONNX files.

use std::path::Path;

use super::Model;
use super::plan::{Plan, Purpose};
use super::stage::HostSplit;
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomically;
use crate::formats::onnx::{Dimension, Edge, Element, OnnxGraph};
use crate::layers::{Exporting, Layer, in_layer};
use crate::shape::Shape;
use crate::text::printable;

/// The name of the size of a batch.
const BATCH: &str = "batch";

impl Model {
    /// The model as the bytes of an ONNX file, for prediction in other runtimes: see [`save_onnx`](Self::save_onnx).
    ///
    /// # Errors
    /// As [`save_onnx`](Self::save_onnx).
    pub fn to_onnx_bytes(&self) -> Result<Vec<u8>> {
        self.onnx_graph()?.encode(self.name())
    }

    /// Saves the model as an ONNX file, for prediction in other runtimes such as ONNX Runtime. Brasa does not load such
    /// files.
    ///
    /// The file has IR version 8 and opset 17, operators of ONNX's own domain alone, weights as raw initializers, and a
    /// batch of any size (`batch`). Inputs and outputs have the names and the order of
    /// [`input_keys`](Self::input_keys) and [`output_keys`](Self::output_keys), and Keras's order of axes; inputs are
    /// float32, or integers where [`Input::dtype`](crate::layers::Input::dtype) says so. Nodes are named after the
    /// layers. Convolutions and pooling work with the channels first, in between transposes that cancel where such
    /// layers follow each other; batch normalizations are folded into the weights before them.
    ///
    /// The write is atomic: if it fails, an existing file stays unchanged.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// # let folder = std::env::temp_dir().join(format!("brasa-onnx-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// # let path = folder.join("model.onnx");
    /// let mut model = Sequential::new();
    /// model.add(Conv2D::new(8, 3).activation("relu").input_shape((28, 28, 1)))?;
    /// model.add(Flatten::new())?.add(Dense::new(10).activation("softmax"))?;
    /// model.save_onnx(&path)?;
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Layer`] for a layer that ONNX cannot express, with the reason; [`Error::State`] before the input shape
    /// is known; [`Error::Unsupported`] for more than 2 GiB; [`Error::Io`] if the file cannot be written.
    pub fn save_onnx(&self, path: impl AsRef<Path>) -> Result<()> {
        let bytes = self.to_onnx_bytes()?;
        write_atomically(path.as_ref(), |file| {
            std::io::Write::write_all(file, &bytes).map_err(Error::io("write", path.as_ref()))
        })
    }

    /// The simplified graph.
    fn onnx_graph(&self) -> Result<OnnxGraph> {
        let built = self.expect_built("save_onnx")?;
        self.refuse_hosted()?;
        if Layer::is_stateful(self) {
            let supported = "models without `stateful`";
            return Err(Error::unsupported("a stateful model in ONNX, which keeps no states between runs", supported));
        }
        let (split, shapes) = (HostSplit::none(self), &built.shapes[..self.graph().inputs()]);
        let skip_final = vec![false; self.graph().outputs().len()];
        // Every layer separately: fusing is left to the runtimes.
        let purpose = Purpose { training: false, skip_final, unfused: true, behind_images: false };
        let plan = Plan::new(self, &split, shapes, &purpose)?;
        if plan.shapes.iter().any(|shape| shape.sample().contains(&Some(0))) {
            return Err(Error::unsupported("values without elements in ONNX", "sizes above 0"));
        }
        let own = self.plain_weights()?;
        let mut graph = OnnxGraph::new();
        let mut edges: Vec<Option<Edge>> = vec![None; plan.value_count];
        let mut masks: Vec<Option<Edge>> = vec![None; plan.value_count];
        let dtypes = self.input_dtypes();
        for (id, name) in self.input_keys().iter().enumerate() {
            let element = match dtypes.get(id).copied().flatten() {
                None => Element::Float,
                Some("int64" | "uint32" | "uint64") => Element::Int64,
                Some(dtype) if dtype.starts_with("int") || dtype.starts_with("uint") => Element::Int32,
                Some(dtype) if dtype.contains("float") || dtype == "bool" => Element::Float,
                Some(dtype) => {
                    let what = format!("input `{}` of type `{}` in ONNX", printable(name), printable(dtype));
                    return Err(Error::unsupported(what, "inputs of numbers"));
                }
            };
            let mut edge = graph.input(name, element, dimensions(name, &plan.shapes[id]));
            if element != Element::Float {
                graph.enter(name);
                edge = graph.apply("Cast", &[edge], vec![("to", Element::Float.code().into())]);
            }
            edges[id] = Some(edge);
        }
        let missing =
            || Error::State { action: "save_onnx", needs: "planned: a value is used before it is computed".into() };
        for step in &plan.steps {
            let layer = &*step.layer;
            graph.enter(layer.name());
            let weights: Vec<_> = step.weights.iter().flat_map(|range| range.of(&own)).cloned().collect();
            let ids: Vec<usize> = step.inputs.iter().map(|(id, _)| *id).collect();
            let inputs = ids.iter().map(|id| edges[*id].ok_or_else(missing)).collect::<Result<Vec<_>>>()?;
            let mut input_masks: Vec<Option<Edge>> = ids.iter().map(|id| masks[*id]).collect();
            for (mask, given) in input_masks.iter_mut().zip(&step.masks) {
                *mask = given.map(|(id, _)| edges[id].ok_or_else(missing)).transpose()?;
            }
            let input_shapes = ids.iter().map(|id| plan.shapes[*id].clone()).collect();
            let outputs = step.output..step.output + step.outputs;
            let output_shapes = plan.shapes[outputs.clone()].to_vec();
            let exporting = Exporting::new(
                &mut graph,
                (inputs, input_masks),
                (input_shapes, output_shapes),
                (&weights, &step.arguments),
            );
            let (made, kept) = in_layer(layer, exporting.run(layer, step.keeps_mask))?;
            for (id, (edge, mask)) in outputs.zip(made.into_iter().zip(kept)) {
                (edges[id], masks[id]) = (Some(edge), mask);
            }
        }
        for (name, id) in self.output_keys().iter().zip(&plan.outputs) {
            graph.output(name, edges[*id].ok_or_else(missing)?, dimensions(name, &plan.shapes[*id]));
        }
        graph.simplify();
        Ok(graph)
    }

    /// Refuses layers of texts.
    fn refuse_hosted(&self) -> Result<()> {
        let split = HostSplit::of(self);
        for (_, node) in self.graph().nodes().iter().enumerate().filter(|(call, _)| split.is_on_host(*call)) {
            let layer = &*self.all_layers()[node.layer];
            if layer.on_host().is_some() {
                let what = "texts, or integers that 32-bit floats cannot represent, in ONNX";
                return in_layer(layer, Err(Error::unsupported(what, "layers of numbers; prepare the inputs outside")));
            }
        }
        Ok(())
    }
}

/// The sizes of an input or output.
fn dimensions(name: &str, shape: &Shape) -> Vec<Dimension> {
    let of = |(axis, size): (usize, &Option<usize>)| match (axis, size) {
        (0, _) => Dimension::Named(BATCH.to_owned()),
        (_, Some(size)) => Dimension::Known(*size),
        (axis, None) => Dimension::Named(format!("{name}_{axis}")),
    };
    shape.sizes().iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    fn refusal(model: &Model) -> String {
        model.to_onnx_bytes().unwrap_err().to_string()
    }

    #[test]
    fn what_onnx_cannot_express_names_the_layer_and_the_reason() {
        let mut masked = Sequential::new();
        masked.add(Embedding::new(5, 3).mask_zero(true).input_shape(4)).unwrap();
        masked.add(LSTM::new(2).name("reader")).unwrap();
        let error = refusal(&masked);
        assert!(error.contains("`reader` (LSTM)") && error.contains("mask"), "{error}");

        let mut closure = Sequential::new();
        closure.add(Lambda::new(Ok).input_shape(2)).unwrap();
        assert!(refusal(&closure).contains("(Lambda): not supported: Lambda in ONNX"), "{}", refusal(&closure));

        let mut words = Sequential::new();
        words.add(Input::new(1).dtype("string")).unwrap();
        words.add(StringLookup::default().vocabulary(["a"])).unwrap();
        assert!(refusal(&words).contains("(StringLookup)") && refusal(&words).contains("texts"), "{}", refusal(&words));

        let mut unusual = Sequential::new();
        unusual.add(GRU::new(2).activation("gelu").input_shape((3, 2))).unwrap();
        assert!(refusal(&unusual).contains("`gelu`"), "{}", refusal(&unusual));
    }

    #[test]
    fn a_convolutional_network_is_transposed_once_and_its_normalizations_are_folded() {
        let mut model = Sequential::new();
        model.add(Conv2D::new(4, 3).use_bias(false).input_shape((12, 12, 3))).unwrap();
        model.add(BatchNormalization::new()).unwrap().add(Activation::new("relu")).unwrap();
        model.add(MaxPooling2D::new(2)).unwrap().add(Dropout::new(0.5)).unwrap();
        model.add(DepthwiseConv2D::new(3)).unwrap().add(GlobalAveragePooling2D::new()).unwrap();
        model.add(Dense::new(2).activation("softmax")).unwrap();
        let graph = model.onnx_graph().unwrap();
        let counts = ["Transpose", "Conv", "Mul", "Add", "MaxPool", "Gemm", "Identity"].map(|name| graph.count(name));
        assert_eq!(counts, [1, 2, 0, 0, 1, 1, 0]);
    }
}
