//! A graph under construction: nodes that name what they take and give, and the weights they name.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::TensorData;

use super::OnnxError;
use super::message::{
    AttributeProto, DimensionProto, FLOAT, FLOAT_ATTRIBUTE, GraphProto, INT_ATTRIBUTE, INT64, INTS_ATTRIBUTE,
    NodeProto, TENSOR_ATTRIBUTE, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// Nodes in the order they run in, with what they need.
#[derive(Default)]
pub(super) struct Graph {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    weights: BTreeSet<String>,
}

/// A tensor of a graph, by its name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value(String);

/// A size of an input or output.
pub(super) enum Size {
    Of(usize),
    /// Any, under this name.
    Any(&'static str),
}

impl Value {
    /// What goes into the graph under this name.
    pub fn input(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl Graph {
    /// What an operator makes of its inputs.
    pub fn node(&mut self, operator: &str, inputs: &[&Value], attributes: Vec<AttributeProto>) -> Value {
        let [output] = self.node_of(operator, inputs, attributes);
        output
    }

    /// Three equal parts along an axis, of `each` values.
    pub fn thirds(&mut self, x: &Value, axis: i64, each: usize) -> [Value; 3] {
        let sizes = self.ints(&[each as i64; 3]);
        self.node_of("Split", &[x, &sizes], vec![int("axis", axis)])
    }

    fn node_of<const N: usize>(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attribute: Vec<AttributeProto>,
    ) -> [Value; N] {
        let name = format!("{operator}_{}", self.nodes.len());
        // Some readers keep nodes and values in one list of names.
        let outputs = std::array::from_fn(|i| Value(format!("{name}.{i}")));
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            output: outputs.iter().map(|value| value.0.clone()).collect(),
            name,
            op_type: operator.to_owned(),
            attribute,
        });
        outputs
    }

    /// A weight of the network by PyTorch's name: of the module at `at`, its parameter `name`.
    pub fn weight(&mut self, at: &str, name: &str) -> Value {
        let name = child(at, name);
        self.weights.insert(name.clone());
        Value(name)
    }

    /// Numbers that are no weights, row-major.
    pub fn floats(&mut self, shape: &[usize], values: &[f32]) -> Value {
        self.constant(FLOAT, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Whole numbers, as those of a shape.
    pub fn ints(&mut self, values: &[i64]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(INT64, &[values.len()], bytes)
    }

    /// A whole number without an axis.
    pub fn int(&mut self, value: i64) -> Value {
        self.constant(INT64, &[], value.to_le_bytes().to_vec())
    }

    fn constant(&mut self, data_type: i32, shape: &[usize], raw_data: Vec<u8>) -> Value {
        let name = format!("constant_{}", self.constants.len());
        self.constants.push(TensorProto { dims: dims(shape), data_type, name: name.clone(), raw_data });
        Value(name)
    }

    /// The graph with one input and one output, its weights taken from `weights`.
    pub fn finish(
        mut self,
        input: ValueInfoProto,
        (result, output): (Value, ValueInfoProto),
        mut weights: BTreeMap<String, TensorData>,
    ) -> Result<GraphProto, OnnxError> {
        for name in self.nodes.iter_mut().flat_map(|node| &mut node.output).filter(|name| **name == result.0)
        {
            name.clone_from(&output.name);
        }
        let mut initializer = Vec::with_capacity(self.weights.len() + self.constants.len());
        for name in self.weights {
            let Some(data) = weights.remove(&name) else {
                return Err(OnnxError::NoWeight { name });
            };
            let dims = dims(&data.shape().to_vec());
            initializer.push(TensorProto {
                dims,
                data_type: FLOAT,
                name,
                raw_data: data.as_bytes().to_vec(),
            });
        }
        initializer.extend(self.constants);
        Ok(GraphProto {
            node: self.nodes,
            name: "encoder".to_owned(),
            initializer,
            input: vec![input],
            output: vec![output],
        })
    }
}

/// The name of what is inside the module at `at`.
pub(super) fn child(at: &str, name: impl std::fmt::Display) -> String {
    format!("{at}.{name}")
}

/// What goes in or comes out.
pub(super) fn described(name: &str, elem_type: i32, sizes: &[Size]) -> ValueInfoProto {
    let dimension = |size: &Size| match size {
        Size::Of(size) => DimensionProto { dim_value: Some(*size as i64), dim_param: None },
        Size::Any(name) => DimensionProto { dim_value: None, dim_param: Some((*name).to_owned()) },
    };
    let shape = TensorShapeProto { dim: sizes.iter().map(dimension).collect() };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: TypeProto { tensor_type: TensorTypeProto { elem_type, shape } },
    }
}

pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    let i = Some(value);
    AttributeProto { name: name.to_owned(), i, r#type: INT_ATTRIBUTE, ..AttributeProto::default() }
}

pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let ints = values.to_vec();
    AttributeProto { name: name.to_owned(), ints, r#type: INTS_ATTRIBUTE, ..AttributeProto::default() }
}

pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    let f = Some(value);
    AttributeProto { name: name.to_owned(), f, r#type: FLOAT_ATTRIBUTE, ..AttributeProto::default() }
}

/// One number as a tensor.
pub(super) fn one_float(name: &str, value: f32) -> AttributeProto {
    let raw_data = value.to_le_bytes().to_vec();
    let t = Some(TensorProto { dims: vec![1], data_type: FLOAT, name: String::new(), raw_data });
    AttributeProto { name: name.to_owned(), t, r#type: TENSOR_ATTRIBUTE, ..AttributeProto::default() }
}

fn dims(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|size| *size as i64).collect()
}
