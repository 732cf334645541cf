//! A policy as an ONNX model, for runtimes that are not surefoot's.
//!
//! | | name | shape | what |
//! |---|---|---|---|
//! | input | `observation` | `[n, observation_dim]` f32 | in the units of the policy's card; the normaliser is part of the model |
//! | output | `action` | `[n, action_dim]` f32 | the action without noise, in `[-1, 1]`: -1 and 1 are the ends of each action's range |
//!
//! Operators: `Sub`, `Div`, `Gemm`, `Relu`, `Tanh` of opset 13, which every runtime has. Metadata: `surefoot.card`, the policy's card as
//! JSON (names, units, bounds, period); `surefoot.examples`, observations with the actions that surefoot takes there as JSON, for
//! checking another runtime.
//!
//! The model has no safety chain: what acts on a robot by it needs one. The messages below are those fields of `onnx.proto`
//! (onnx/onnx, Apache-2.0) that such a model uses.

use prost::Message;
use surefoot_core::{ActMode, Policy, PolicyArtifact, PolicyError, ResetScope, Rows, RowsMut, Stream};

use crate::nn::candidate_policy::is_candidate_policy;
use crate::nn::gaussian_policy::GaussianPolicy;
use crate::nn::policy_network::PolicyNetwork;

/// Opset 13 came with version 7 of the format.
const IR_VERSION: i64 = 7;
const OPSET: i64 = 13;
/// `TensorProto.DataType.FLOAT`.
const FLOAT: i32 = 1;
/// `AttributeProto.AttributeType.INT`.
const INT: i32 = 2;
/// Examples in the metadata.
const EXAMPLES: usize = 8;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(string, tag = "3")]
    producer_version: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSet>,
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSet {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "3")]
    i: i64,
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<Type>,
    #[prost(string, tag = "3")]
    doc_string: String,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<TensorShape>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(oneof = "Size", tags = "1, 2")]
    size: Option<Size>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Size {
    #[prost(int64, tag = "1")]
    Number(i64),
    #[prost(string, tag = "2")]
    Any(String),
}

/// The bytes of `policy.onnx`.
///
/// # Errors
/// [`PolicyError::Artifact`] when the policy is not what its card promises.
pub fn to_onnx(policy: &PolicyArtifact) -> Result<Vec<u8>, PolicyError> {
    if is_candidate_policy(&policy.card) {
        let reason = "this policy draws candidates and takes the best by its critic, which is no function of the observation alone: export one of another learner, for one of `[learner.bc]` trained on what this one does";
        return Err(PolicyError::Artifact { what: "architecture", reason: reason.into() });
    }
    let PolicyNetwork { normalizer, layers, head: _ } = PolicyNetwork::from_artifact(policy)?;
    let spec = &policy.card.spec;
    let mut graph = Graph {
        name: spec.name.clone(),
        input: vec![rows("observation", spec.observation.iter().map(|f| (&f.name, &f.unit)))],
        output: vec![rows("action", spec.action.iter().map(|f| (&f.name, &f.unit)))],
        ..Graph::default()
    };
    let mut at = "observation".to_owned();
    if !normalizer.mean.is_empty() {
        for (operator, name, numbers) in
            [("Sub", "normalizer/mean", &normalizer.mean), ("Div", "normalizer/std", &normalizer.std)]
        {
            graph.initializer.push(tensor(name, &[numbers.len()], numbers));
            graph.then(operator, &mut at, &[name], Vec::new());
        }
    }
    let last = layers.len().saturating_sub(1);
    let mut inputs = spec.observation_dim();
    for (i, layer) in layers.iter().enumerate() {
        // Of a last layer that gives deviations too, the means alone.
        let outputs = if i == last { spec.action_dim() } else { layer.bias.len() };
        let weight = layer.weight.get(..outputs * inputs).unwrap_or_default();
        let [weight_name, bias_name] = ["weight", "bias"].map(|part| format!("actor/layer{i}/{part}"));
        graph.initializer.push(tensor(&weight_name, &[outputs, inputs], weight));
        graph.initializer.push(tensor(&bias_name, &[outputs], layer.bias.get(..outputs).unwrap_or_default()));
        // `x W^T + b`.
        let transposed = Attribute { name: "transB".into(), i: 1, kind: INT };
        graph.then("Gemm", &mut at, &[&weight_name, &bias_name], vec![transposed]);
        if i < last {
            graph.then("Relu", &mut at, &[], Vec::new());
        }
        inputs = outputs;
    }
    graph.node.push(Node {
        input: vec![at],
        output: vec!["action".into()],
        name: "squash".into(),
        op_type: "Tanh".into(),
        attribute: Vec::new(),
    });
    let json = |what, value: serde_json::Result<String>| {
        value.map_err(|e| PolicyError::Artifact { what, reason: e.to_string() })
    };
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: "surefoot".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: vec![
            Entry { key: "surefoot.card".into(), value: json("card", serde_json::to_string(&policy.card))? },
            Entry {
                key: "surefoot.examples".into(),
                value: json("examples", serde_json::to_string(&examples(policy)?))?,
            },
        ],
    };
    Ok(model.encode_to_vec())
}

impl Graph {
    /// Adds `operator(at, others...)`, which becomes `at`.
    fn then(&mut self, operator: &str, at: &mut String, others: &[&str], attribute: Vec<Attribute>) {
        let name = format!("{}{}", operator.to_lowercase(), self.node.len());
        let input = std::iter::once(std::mem::replace(at, name.clone()))
            .chain(others.iter().map(|o| (*o).to_owned()))
            .collect();
        let output = vec![name.clone()];
        self.node.push(Node { input, output, name, op_type: operator.into(), attribute });
    }
}

/// `[n, fields]`, with what each number is.
fn rows<'a>(name: &str, fields: impl Iterator<Item = (&'a String, &'a String)>) -> ValueInfo {
    let names: Vec<String> = fields.map(|(name, unit)| format!("{name} [{unit}]")).collect();
    let sizes = [Size::Any("n".into()), Size::Number(names.len() as i64)];
    let shape = TensorShape { dim: sizes.map(|size| Dimension { size: Some(size) }).to_vec() };
    ValueInfo {
        name: name.into(),
        kind: Some(Type { tensor: Some(TensorType { elem_type: FLOAT, shape: Some(shape) }) }),
        doc_string: names.join(", "),
    }
}

fn tensor(name: &str, dims: &[usize], numbers: &[f32]) -> Tensor {
    Tensor {
        dims: dims.iter().map(|d| *d as i64).collect(),
        data_type: FLOAT,
        name: name.into(),
        raw_data: numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

/// Observations as the normaliser has seen them, and the actions that are taken there without noise.
#[derive(serde::Serialize)]
struct Examples {
    observation: Vec<Vec<f32>>,
    action: Vec<Vec<f32>>,
}

fn examples(files: &PolicyArtifact) -> Result<Examples, PolicyError> {
    let mut policy = GaussianPolicy::from_artifact(files, 1)?;
    let (observation_dim, action_dim) = (files.card.spec.observation_dim(), files.card.spec.action_dim());
    let normalizer = &files.card.normalizer;
    let mut stream = Stream::new(0, "onnx examples", 0);
    let mut examples = Examples { observation: Vec::new(), action: Vec::new() };
    for _ in 0..EXAMPLES {
        let mut observation = vec![0.0; observation_dim];
        stream.fill_normal(&mut observation);
        for ((x, mean), std) in observation.iter_mut().zip(&normalizer.mean).zip(&normalizer.std) {
            *x = mean + std * *x;
        }
        let mut action = vec![0.0; action_dim];
        policy.reset(0, ResetScope::Episode, 0);
        policy.act(
            Rows::new(&observation, observation_dim),
            ActMode::Exploit,
            RowsMut::new(&mut action, action_dim),
        )?;
        examples.observation.push(observation);
        examples.action.push(action);
    }
    Ok(examples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LearnerConfig, LearnerContext};
    use surefoot_core::{EnvSpec, Field};

    fn artifact(learner: &str) -> PolicyArtifact {
        let fields = |n: usize| (0..n).map(|i| Field::unbounded(format!("x{i}"), "rad")).collect();
        let spec = EnvSpec {
            name: "three_to_two".into(),
            observation: fields(3),
            action: fields(2),
            step_secs: 0.1,
            max_steps: 10,
            reward_range: Some((-1.0, 0.0)),
            contract_hash: None,
        };
        let learner = LearnerConfig::default_of(learner).unwrap();
        let mut files = learner.build(&LearnerContext::new(spec, 3)).unwrap().artifact().unwrap();
        files.card.normalizer.mean = vec![0.5, -1.0, 2.0];
        files.card.normalizer.std = vec![0.1, 2.0, 1.0];
        files
    }

    /// Runs a model as its operators say.
    fn run(model: &Model, observation: &[f32]) -> Vec<f32> {
        let graph = model.graph.as_ref().unwrap();
        let constant = |name: &str| {
            let t = graph.initializer.iter().find(|t| t.name == name).unwrap();
            assert_eq!(t.raw_data.len(), 4 * t.dims.iter().product::<i64>() as usize);
            t.raw_data
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect::<Vec<f32>>()
        };
        let (mut at, mut x) = ("observation".to_owned(), observation.to_vec());
        for node in &graph.node {
            assert_eq!(node.input[0], at, "a chain");
            at.clone_from(&node.output[0]);
            let other = node.input.get(1).map(|n| constant(n));
            x = match (node.op_type.as_str(), other) {
                ("Sub", Some(c)) => x.iter().zip(c).map(|(x, c)| x - c).collect(),
                ("Div", Some(c)) => x.iter().zip(c).map(|(x, c)| x / c).collect(),
                ("Gemm", Some(w)) => {
                    let bias = constant(&node.input[2]);
                    let row = |o: usize| w[o * x.len()..][..x.len()].iter().zip(&x).map(|(w, x)| w * x);
                    bias.iter().enumerate().map(|(o, b)| b + row(o).sum::<f32>()).collect()
                }
                ("Relu", None) => x.iter().map(|x| x.max(0.0)).collect(),
                ("Tanh", None) => x.iter().map(|x| x.tanh()).collect(),
                other => panic!("{other:?}"),
            };
        }
        assert_eq!(at, "action");
        x
    }

    #[test]
    fn a_model_does_what_the_policy_does_and_brings_the_proof() {
        for learner in ["awac", "sac", "bc"] {
            let files = artifact(learner);
            let model = Model::decode(to_onnx(&files).unwrap().as_slice()).unwrap();
            let entry = |key: &str| &model.metadata_props.iter().find(|e| e.key == key).unwrap().value;
            let card: surefoot_core::PolicyCard = serde_json::from_str(entry("surefoot.card")).unwrap();
            assert_eq!(card, files.card);
            let examples: serde_json::Value = serde_json::from_str(entry("surefoot.examples")).unwrap();
            let part =
                |name: &str| -> Vec<Vec<f32>> { serde_json::from_value(examples[name].clone()).unwrap() };
            let (observations, actions) = (part("observation"), part("action"));
            assert_eq!((observations.len(), actions.len()), (EXAMPLES, EXAMPLES));
            for (observation, action) in observations.iter().zip(&actions) {
                let found = run(&model, observation);
                assert_eq!(found.len(), 2);
                for (found, expected) in found.iter().zip(action) {
                    assert!((found - expected).abs() < 1e-6, "{learner}: {found} {expected}");
                }
            }
            assert_ne!(actions[0], actions[1], "{learner}");
        }
    }

    #[test]
    fn a_policy_that_is_not_what_its_card_says_is_no_model() {
        let mut files = artifact("awac");
        files.card.architecture["hidden"] = serde_json::json!([7]);
        let error = to_onnx(&files).unwrap_err().to_string();
        assert!(error.contains("actor/layer0/weight"), "{error}");
    }
}
