//! What tokens are made of, and where each array stands in the one flat parameter.

use std::ops::Range;

use super::config::ModelConfig;
use crate::nn::init::uniform;
use crate::nn::params::{Arrays, Part, check_array};
use surefoot_core::{EnvSpec, Field, LearnError};

/// One number of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// One of so many, by its index.
    Choice(usize),
    /// A quantity.
    Quantity,
}

impl Entry {
    fn of(field: &Field) -> Self {
        field.choices.map_or(Self::Quantity, |n| Self::Choice(n as usize))
    }
}

/// An action dimension's bins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bins {
    /// The choices themselves.
    Choices(usize),
    /// Evenly from -1 to 1, both included.
    Evenly(usize),
}

impl Bins {
    /// How many.
    #[must_use]
    pub const fn count(self) -> usize {
        match self {
            Self::Choices(n) | Self::Evenly(n) => n,
        }
    }
    /// The bin that an action is in; the nearest one where it lies outside.
    #[must_use]
    pub fn bin_of(self, action: f32) -> u32 {
        let last = (self.count() - 1) as f32;
        let place = match self {
            Self::Choices(_) => action,
            Self::Evenly(_) => (action + 1.0) * 0.5 * last,
        };
        // A NaN becomes 0.
        place.round().clamp(0.0, last) as u32
    }
    /// The action that a bin stands for.
    #[must_use]
    pub fn action_of(self, bin: u32) -> f32 {
        match self {
            Self::Choices(_) => bin as f32,
            Self::Evenly(n) => bin as f32 * 2.0 / (n - 1) as f32 - 1.0,
        }
    }
}

/// What a token is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenShape {
    /// The observation row.
    pub observation: Vec<Entry>,
    /// The action row.
    pub action: Vec<Bins>,
    /// Rows of the table of an episode's steps; later steps share the last one.
    pub steps: usize,
    /// Whether a token holds the return still to come.
    pub return_to_go: bool,
}

impl TokenShape {
    const MOST_STEPS: usize = 512;

    /// Of a spec.
    #[must_use]
    pub fn of(spec: &EnvSpec, model: &ModelConfig) -> Self {
        let bins = |field: &Field| match Entry::of(field) {
            Entry::Choice(n) => Bins::Choices(n),
            Entry::Quantity => Bins::Evenly(model.action_bins),
        };
        Self {
            observation: spec.observation.iter().map(Entry::of).collect(),
            action: spec.action.iter().map(bins).collect(),
            steps: spec.max_steps.clamp(1, Self::MOST_STEPS),
            return_to_go: model.returns_to_go,
        }
    }
    /// Quantities in an observation row.
    #[must_use]
    pub fn quantities(&self) -> usize {
        self.observation.iter().filter(|e| **e == Entry::Quantity).count()
    }
    /// Logits of a token: the bins of all action dimensions, one after the other.
    #[must_use]
    pub fn logits(&self) -> usize {
        self.action.iter().map(|b| b.count()).sum()
    }
}

/// An array in the flat parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    start: usize,
    len: usize,
}

impl At {
    /// Its place.
    #[must_use]
    pub const fn range(self) -> Range<usize> {
        self.start..self.start + self.len
    }
    /// Its numbers.
    #[must_use]
    pub fn of(self, all: &[f32]) -> &[f32] {
        &all[self.range()]
    }
    /// Its numbers.
    #[must_use]
    pub fn of_mut(self, all: &mut [f32]) -> &mut [f32] {
        &mut all[self.range()]
    }
    /// Row `i` of a table of `width` columns.
    #[must_use]
    pub fn row(self, i: usize, width: usize) -> Range<usize> {
        self.start + i * width..self.start + (i + 1) * width
    }
}

/// `y = x weight + bias`.
#[derive(Clone, Copy, Debug)]
pub struct LinearAt {
    /// `[in, out]` by rows.
    pub weight: At,
    /// `[out]`.
    pub bias: At,
}

/// Scale and shift of a layer normalisation.
#[derive(Clone, Copy, Debug)]
pub struct NormAt {
    /// `[width]`.
    pub scale: At,
    /// `[width]`.
    pub shift: At,
}

/// Arrays that tokens are made of.
#[derive(Clone, Debug)]
pub struct TokenAt {
    /// A table for each choice of the observation, in the row's order: `[choices, width]`.
    pub choices: Vec<At>,
    /// Both layers for the quantities, where there are any.
    pub quantities: Option<[LinearAt; 2]>,
    /// A table for each action dimension: `[bins, width]`.
    pub actions: Vec<At>,
    /// What a reward of 1 adds, and what any reward adds.
    pub reward: LinearAt,
    /// `[3, width]`: the step before went on, terminated, was truncated.
    pub end: At,
    /// `[steps, width]`.
    pub step: At,
    /// In place of the step before at the beginning of a life.
    pub begin: At,
    /// In place of what is masked: observation, action, reward.
    pub masked: [At; 3],
    /// What a return to go of 1 adds, `[width]`, where tokens hold one.
    pub return_to_go: Option<At>,
}

/// Arrays of a block.
#[derive(Clone, Copy, Debug)]
pub struct BlockAt {
    /// Before attention.
    pub norm: NormAt,
    /// `[width, 3 width]`: queries, keys, values.
    pub inputs: LinearAt,
    /// Key and value that every query may attend to when nothing else is worth it, `[width]` each.
    pub sink: [At; 2],
    /// `[width, width]`.
    pub output: LinearAt,
    /// Before the feed-forward layers.
    pub feed_norm: NormAt,
    /// `[width, feed_forward]`.
    pub up: LinearAt,
    /// `[feed_forward, width]`.
    pub down: LinearAt,
}

/// Where everything stands.
#[derive(Clone, Debug)]
pub struct Layout {
    /// What tokens are made of.
    pub tokens: TokenAt,
    /// From input to output.
    pub blocks: Vec<BlockAt>,
    /// After the last block.
    pub norm: NormAt,
    /// `[width, logits]`.
    pub head: LinearAt,
    parts: Vec<Part>,
    /// Which numbers weight decay pulls at: matrices between layers.
    decayed: Vec<Range<usize>>,
    len: usize,
}

/// Initial values.
enum Init {
    Deviation(f64),
    All(f32),
}

struct Builder {
    parts: Vec<Part>,
    decayed: Vec<Range<usize>>,
    values: Option<(u64, Vec<f32>)>,
    len: usize,
}

impl Builder {
    fn add(&mut self, name: String, dims: &[usize], by_columns: bool, init: &Init) -> At {
        let len = dims.iter().product();
        if let Some((seed, values)) = &mut self.values {
            match init {
                // A uniform distribution of this deviation.
                Init::Deviation(std) => values.extend(uniform(*seed, &name, len, std * 3.0_f64.sqrt())),
                Init::All(x) => values.resize(values.len() + len, *x),
            }
        }
        let at = At { start: self.len, len };
        self.parts.push(Part { name, dims: dims.to_vec(), at: self.len, by_columns });
        self.len += len;
        at
    }
    fn linear(&mut self, name: &str, [input, output]: [usize; 2], gain: f64) -> LinearAt {
        let init = Init::Deviation(gain / (input as f64).sqrt());
        let weight = self.add(format!("{name}/weight"), &[output, input], true, &init);
        self.decayed.push(weight.range());
        LinearAt { weight, bias: self.add(format!("{name}/bias"), &[output], false, &Init::All(0.0)) }
    }
    fn norm(&mut self, name: &str, width: usize) -> NormAt {
        NormAt {
            scale: self.add(format!("{name}/scale"), &[width], false, &Init::All(1.0)),
            shift: self.add(format!("{name}/shift"), &[width], false, &Init::All(0.0)),
        }
    }
}

impl Layout {
    /// Deviation of initial embeddings: several are added up for a token.
    const EMBEDDING: Init = Init::Deviation(0.3);

    /// Without values.
    #[must_use]
    pub fn new(model: &ModelConfig, shape: &TokenShape) -> Self {
        Self::build(model, shape, None).0
    }

    /// With initial values, a function of `seed`.
    #[must_use]
    pub fn initial(model: &ModelConfig, shape: &TokenShape, seed: u64) -> (Self, Vec<f32>) {
        let (layout, values) = Self::build(model, shape, Some((seed, Vec::new())));
        (layout, values.map_or_else(Vec::new, |(_, values)| values))
    }

    fn build(
        model: &ModelConfig,
        shape: &TokenShape,
        values: Option<(u64, Vec<f32>)>,
    ) -> (Self, Option<(u64, Vec<f32>)>) {
        let d = model.width;
        let mut b = Builder { parts: Vec::new(), decayed: Vec::new(), values, len: 0 };
        let mut choices = Vec::new();
        for (i, entry) in shape.observation.iter().enumerate() {
            if let Entry::Choice(n) = entry {
                choices.push(b.add(format!("token/observation{i}"), &[*n, d], false, &Self::EMBEDDING));
            }
        }
        let quantities = (shape.quantities() > 0).then(|| {
            [
                b.linear("token/quantities0", [shape.quantities(), d], 1.0),
                b.linear("token/quantities1", [d, d], 0.5),
            ]
        });
        let mut actions = Vec::new();
        for (i, bins) in shape.action.iter().enumerate() {
            actions.push(b.add(format!("token/action{i}"), &[bins.count(), d], false, &Self::EMBEDDING));
        }
        let row = |b: &mut Builder, name: &str| b.add(format!("token/{name}"), &[d], false, &Self::EMBEDDING);
        let reward = LinearAt { weight: row(&mut b, "reward"), bias: row(&mut b, "any_reward") };
        let end = b.add("token/end".into(), &[3, d], false, &Self::EMBEDDING);
        let step = b.add("token/step".into(), &[shape.steps, d], false, &Self::EMBEDDING);
        let begin = row(&mut b, "begin");
        let masked = ["masked_observation", "masked_action", "masked_reward"].map(|name| row(&mut b, name));
        let return_to_go = shape.return_to_go.then(|| row(&mut b, "return_to_go"));
        let residual = 1.0 / (2.0 * model.layers as f64).sqrt();
        let blocks = (0..model.layers)
            .map(|i| {
                let name = |part: &str| format!("block{i}/{part}");
                let sink = Init::Deviation(0.5);
                BlockAt {
                    norm: b.norm(&name("norm"), d),
                    inputs: b.linear(&name("inputs"), [d, 3 * d], 1.0),
                    sink: [
                        b.add(name("sink_key"), &[d], false, &sink),
                        b.add(name("sink_value"), &[d], false, &Init::Deviation(0.02)),
                    ],
                    output: b.linear(&name("output"), [d, d], residual),
                    feed_norm: b.norm(&name("feed_norm"), d),
                    up: b.linear(&name("up"), [d, model.feed_forward], 2.0_f64.sqrt()),
                    down: b.linear(&name("down"), [model.feed_forward, d], residual),
                }
            })
            .collect();
        let norm = b.norm("norm", d);
        let head = b.linear("head", [d, shape.logits()], 0.1);
        let tokens = TokenAt { choices, quantities, actions, reward, end, step, begin, masked, return_to_go };
        let Builder { parts, decayed, values, len } = b;
        (Self { tokens, blocks, norm, head, parts, decayed, len }, values)
    }

    /// Numbers in the parameter.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Numbers that weight decay pulls at.
    #[must_use]
    pub fn decayed(&self) -> &[Range<usize>] {
        &self.decayed
    }
    /// The arrays by name and place.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Adds the arrays of `values` under `prefix`.
    pub fn export(&self, prefix: &str, values: &[f32], to: &mut Arrays) {
        for part in &self.parts {
            let array = (part.dims.clone(), part.turned(&values[part.range()], false));
            to.insert(format!("{prefix}{}", part.name), array);
        }
    }

    /// The flat parameter of the arrays under `prefix`.
    ///
    /// # Errors
    /// [`LearnError::State`] naming the first that is missing, of another shape, or not finite.
    pub fn import(&self, prefix: &str, from: &Arrays) -> Result<Vec<f32>, LearnError> {
        let mut values = vec![0.0; self.len];
        for part in &self.parts {
            let array = check_array(&format!("{prefix}{}", part.name), &part.dims, from)?;
            values[part.range()].copy_from_slice(&part.turned(array, true));
        }
        Ok(values)
    }
}
