//! ONNX files: protocol buffers (`onnx.proto`), of which only the fields in use are declared.

use prost::Message;

use super::graph::{Attribute, Constant, Dimension, Element, OnnxGraph, OnnxNode, Port};
use crate::error::{Error, Result};

/// The version of the file format: that of ONNX 1.12, which has [`OPSET`].
pub const IR_VERSION: i64 = 8;

/// The version of the operators.
pub const OPSET: i64 = 17;

/// The largest message that readers of protocol buffers take.
const MOST_BYTES: usize = i32::MAX as usize;

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(string, tag = "3")]
    producer_version: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetIdProto>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSetIdProto {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<AttributeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(float, optional, tag = "2")]
    f: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    i: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    s: Option<Vec<u8>>,
    #[prost(float, repeated, packed = "false", tag = "7")]
    floats: Vec<f32>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    ints: Vec<i64>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    strings: Vec<Vec<u8>>,
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfoProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorTypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<TensorShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<DimensionProto>,
}

#[derive(Clone, PartialEq, Message)]
struct DimensionProto {
    #[prost(int64, optional, tag = "1")]
    dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    dim_param: Option<String>,
}

impl OnnxGraph {
    /// The bytes of a file with this graph.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for more than 2 GiB, which protocol buffers cannot have.
    pub fn encode(self, name: &str) -> Result<Vec<u8>> {
        let weights = self.constants.values().fold(0usize, |sum, constant| sum.saturating_add(constant.bytes()));
        check_len(weights)?;
        let model = self.into_model(name);
        check_len(model.encoded_len())?;
        Ok(model.encode_to_vec())
    }

    fn into_model(mut self, name: &str) -> ModelProto {
        let constants = std::mem::take(&mut self.constants);
        let initializer = constants.into_iter().map(|(edge, constant)| {
            let name = self.names[edge.0].clone();
            let (dims, data_type, raw_data) = match constant {
                Constant::Floats { sizes, values } => {
                    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                    (sizes.into_iter().map(|size| size as i64).collect(), Element::Float, bytes)
                }
                Constant::Ints(values) => {
                    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                    (vec![values.len() as i64], Element::Int64, bytes)
                }
                Constant::Int(value) => (Vec::new(), Element::Int64, value.to_le_bytes().to_vec()),
            };
            TensorProto { dims, data_type: data_type.code() as i32, name, raw_data }
        });
        let initializer = initializer.collect();
        let graph = GraphProto {
            node: self.nodes.iter().map(|node| self.node(node)).collect(),
            name: name.to_owned(),
            initializer,
            input: self.inputs.iter().map(|port| self.port(port)).collect(),
            output: self.outputs.iter().map(|port| self.port(port)).collect(),
        };
        ModelProto {
            ir_version: IR_VERSION,
            producer_name: "brasa".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        }
    }

    fn node(&self, node: &OnnxNode) -> NodeProto {
        // An input that is left out has an empty name.
        let input = |edge: &Option<_>| edge.map_or_else(String::new, |edge: super::Edge| self.names[edge.0].clone());
        NodeProto {
            input: node.inputs.iter().map(input).collect(),
            output: node.outputs.iter().map(|edge| self.names[edge.0].clone()).collect(),
            name: node.name.clone(),
            op_type: node.operator.to_owned(),
            attribute: node.attributes.iter().map(|(name, attribute)| of_attribute(name, attribute)).collect(),
        }
    }

    fn port(&self, port: &Port) -> ValueInfoProto {
        let dim = |size: &Dimension| match size {
            Dimension::Known(size) => DimensionProto { dim_value: Some(*size as i64), dim_param: None },
            Dimension::Named(name) => DimensionProto { dim_value: None, dim_param: Some(name.clone()) },
        };
        let shape = TensorShapeProto { dim: port.sizes.iter().map(dim).collect() };
        let tensor_type = TensorTypeProto { elem_type: port.element.code() as i32, shape: Some(shape) };
        ValueInfoProto {
            name: self.names[port.edge.0].clone(),
            kind: Some(TypeProto { tensor_type: Some(tensor_type) }),
        }
    }
}

fn check_len(bytes: usize) -> Result<()> {
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    let what = format!("an ONNX file of {bytes} bytes");
    Err(Error::unsupported(what, format!("at most {MOST_BYTES} bytes, the limit of protocol buffers")))
}

fn of_attribute(name: &str, attribute: &Attribute) -> AttributeProto {
    let mut proto = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
    proto.kind = match attribute {
        Attribute::Float(value) => {
            proto.f = Some(*value);
            1
        }
        Attribute::Int(value) => {
            proto.i = Some(*value);
            2
        }
        Attribute::Text(text) => {
            proto.s = Some(text.clone().into_bytes());
            3
        }
        Attribute::Floats(values) => {
            proto.floats.clone_from(values);
            6
        }
        Attribute::Ints(values) => {
            proto.ints.clone_from(values);
            7
        }
        Attribute::Texts(texts) => {
            proto.strings = texts.iter().map(|text| text.clone().into_bytes()).collect();
            8
        }
    };
    proto
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_states_its_versions_and_holds_the_weights_as_bytes() {
        let mut graph = OnnxGraph::new();
        let x = graph.input("x", Element::Float, vec![Dimension::Named("batch".into()), Dimension::Known(2)]);
        let row = graph.constant("row", Constant::floats([2], vec![1.0, -2.0]));
        let y = graph.apply("Mul", &[x, row], vec![]);
        let y = graph.apply("Softmax", &[y], vec![("axis", (-1).into())]);
        graph.output("y", y, vec![Dimension::Named("batch".into()), Dimension::Known(2)]);
        graph.simplify();
        let model = ModelProto::decode(&*graph.encode("net").unwrap()).unwrap();
        assert_eq!((model.ir_version, model.opset_import[0].version), (8, 17));
        let graph = model.graph.unwrap();
        assert_eq!(graph.initializer[0].raw_data, [1.0f32, -2.0].map(f32::to_le_bytes).concat());
        assert_eq!(graph.node[0].input, ["x", "row"]);
        assert_eq!((graph.node[1].output[0].as_str(), graph.node[1].attribute[0].i), ("y", Some(-1)));
        let sizes = graph.input[0].kind.clone().unwrap().tensor_type.unwrap().shape.unwrap().dim;
        assert_eq!((sizes[0].dim_param.as_deref(), sizes[1].dim_value), (Some("batch"), Some(2)));
    }

    #[test]
    fn more_than_protocol_buffers_can_have_is_refused() {
        let error = check_len(MOST_BYTES + 1).unwrap_err().to_string();
        assert!(error.contains("2147483648 bytes") && error.contains("protocol buffers"), "{error}");
        assert!(check_len(MOST_BYTES).is_ok());
    }
}
