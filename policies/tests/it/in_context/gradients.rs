//! The passes by hand beside candle's autograd over primitives.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use surefoot_core::{StepEnd, Stream};
use surefoot_policies::in_context::config::TokenPart;
use surefoot_policies::in_context::network::{Network, Pass};
use surefoot_policies::in_context::shape::{Bins, Entry, Layout, TokenShape};
use surefoot_policies::in_context::tokens::{Before, Masked, Token};
use surefoot_policies::in_context::windows::Window;
use surefoot_policies::in_context::{ModelConfig, Positions, StepTokens};
use surefoot_policies::nn::params::Arrays;

pub fn shape() -> TokenShape {
    TokenShape {
        observation: vec![Entry::Choice(5), Entry::Quantity, Entry::Choice(3), Entry::Quantity],
        action: vec![Bins::Choices(4), Bins::Evenly(7)],
        steps: 6,
        return_to_go: false,
    }
}

/// A window of every kind of token.
pub fn window(shape: &TokenShape, n: usize, seed: u64, masks: bool) -> Window {
    let mut stream = Stream::new(seed, "window", 0);
    let mut window = Window::new(shape);
    let ends = [StepEnd::Running, StepEnd::Running, StepEnd::Terminated, StepEnd::Truncated];
    for i in 0..n {
        let mut observation = Vec::new();
        for entry in &shape.observation {
            observation.push(match entry {
                Entry::Choice(n) => stream.below(*n) as f32,
                Entry::Quantity => stream.normal() as f32,
            });
        }
        let mut bins = || shape.action.iter().map(|b| stream.below(b.count()) as u32).collect::<Vec<_>>();
        let (action, target) = (bins(), bins());
        let reward = stream.normal() as f32;
        let end = ends[stream.below(4)];
        let before = if i == 0 { Before::Nothing } else { Before::Step { action: &action, reward, end } };
        let mut hide = || masks && stream.unit() < 0.3;
        let masked = Masked { observation: hide(), action: hide(), reward: hide() };
        let return_to_go = stream.normal() as f32;
        let token = Token { observation: &observation, before, step: i % 8, masked, return_to_go };
        window.push(token, &target, if masked.observation { 0.0 } else { 1.0 + 0.5 * (i % 3) as f32 });
    }
    window
}

/// Parameters away from their special initial values.
pub fn random_theta(network: &Network, seed: u64) -> Vec<f32> {
    let mut stream = Stream::new(seed, "theta", 0);
    let mut theta = Layout::initial(&network.model, &network.shape, seed).1;
    theta.iter_mut().for_each(|x| *x += 0.1 * stream.normal() as f32);
    theta
}

struct Eager<'a> {
    network: &'a Network,
    parts: BTreeMap<String, Var>,
}

impl Eager<'_> {
    fn part(&self, name: &str) -> &Tensor {
        self.parts[name].as_tensor()
    }
    fn linear(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.part(&format!("{name}/weight")).t()?)?
            .broadcast_add(self.part(&format!("{name}/bias")))
    }
    fn norm(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(1)?)?;
        let variance = centred.sqr()?.mean_keepdim(1)?;
        let normal = centred.broadcast_div(&(variance + 1e-5)?.sqrt()?)?;
        let scaled = normal.broadcast_mul(self.part(&format!("{name}/scale")))?;
        scaled.broadcast_add(self.part(&format!("{name}/shift")))
    }
    /// Rows of a table by factors: `[n, rows]` times `[rows, width]`.
    fn rows(&self, name: &str, window: &Window, factor: impl Fn(Token<'_>, usize) -> f32) -> Result<Tensor> {
        let table = self.part(name);
        let table = if table.rank() == 1 { table.unsqueeze(0)? } else { table.clone() };
        let rows = table.dim(0)?;
        let factors: Vec<f32> = (0..window.len())
            .flat_map(|i| (0..rows).map(move |r| (i, r)))
            .map(|(i, r)| factor(window.token(i), r))
            .collect();
        Tensor::from_vec(factors, (window.len(), rows), &Device::Cpu)?.matmul(&table)
    }

    /// All tokens of a window, those of a step one after the other.
    fn tokens(&self, window: &Window) -> Result<Tensor> {
        let parts = self.network.model.tokens.parts();
        let each: Vec<Tensor> = parts
            .iter()
            .map(|part| match part {
                TokenPart::Whole => {
                    (self.seen(window)? + (self.done(window)? + self.brought(window)?)?)?
                        + self.begin(window)?
                }
                TokenPart::Action => self.done(window)? + self.begin(window)?,
                TokenPart::Reward => self.brought(window)? + self.begin(window)?,
                TokenPart::Observation => self.seen(window),
            })
            .collect::<Result<_>>()?;
        Tensor::stack(&each, 1)?.reshape((window.len() * parts.len(), self.network.model.width))
    }

    fn begin(&self, window: &Window) -> Result<Tensor> {
        let nothing = |t: Token<'_>, _| f32::from(u8::from(t.before == Before::Nothing));
        self.rows("token/begin", window, nothing)
    }

    fn seen(&self, window: &Window) -> Result<Tensor> {
        let shape = &self.network.shape;
        let on = |yes: bool| f32::from(u8::from(yes));
        let mut x = self.rows("token/step", window, |t, r| on(t.step.min(shape.steps - 1) == r))?;
        for (i, entry) in shape.observation.iter().enumerate() {
            if matches!(entry, Entry::Choice(_)) {
                let seen = |t: Token<'_>, r: usize| on(!t.masked.observation && t.observation[i] == r as f32);
                x = (x + self.rows(&format!("token/observation{i}"), window, seen)?)?;
            }
        }
        let quantities: Vec<f32> = (0..window.len())
            .flat_map(|k| {
                let token = window.token(k);
                shape
                    .observation
                    .iter()
                    .zip(token.observation)
                    .filter(|(e, _)| **e == Entry::Quantity)
                    .map(|(_, x)| *x)
                    .collect::<Vec<_>>()
            })
            .collect();
        let q = Tensor::from_vec(quantities, (window.len(), shape.quantities()), &Device::Cpu)?;
        let q = self.linear("token/quantities1", &self.linear("token/quantities0", &q)?.relu()?)?;
        let seen: Vec<f32> = (0..window.len()).map(|k| on(!window.token(k).masked.observation)).collect();
        x = (x + q.broadcast_mul(&Tensor::from_vec(seen, (window.len(), 1), &Device::Cpu)?)?)?;
        if shape.return_to_go {
            x = (x + self.rows("token/return_to_go", window, |t, _| t.return_to_go)?)?;
        }
        x + self.rows("token/masked_observation", window, |t, _| on(t.masked.observation))?
    }

    fn done(&self, window: &Window) -> Result<Tensor> {
        let on = |yes: bool| f32::from(u8::from(yes));
        let step = |t: &Token<'_>| matches!(t.before, Before::Step { .. });
        let mut x = self.rows("token/masked_action", window, |t, _| on(step(&t) && t.masked.action))?;
        let action = |t: &Token<'_>, i: usize| match t.before {
            Before::Step { action, .. } if !t.masked.action => Some(action[i] as usize),
            _ => None,
        };
        for i in 0..self.network.shape.action.len() {
            x = (x + self.rows(&format!("token/action{i}"), window, |t, r| on(action(&t, i) == Some(r)))?)?;
        }
        Ok(x)
    }

    fn brought(&self, window: &Window) -> Result<Tensor> {
        let on = |yes: bool| f32::from(u8::from(yes));
        let step = |t: &Token<'_>| matches!(t.before, Before::Step { .. });
        let reward = |t: &Token<'_>| match t.before {
            Before::Step { reward, .. } if !t.masked.reward => reward,
            _ => 0.0,
        };
        let end = |t: &Token<'_>| match t.before {
            Before::Nothing => None,
            Before::Step { end: StepEnd::Running, .. } => Some(0),
            Before::Step { end: StepEnd::Terminated, .. } => Some(1),
            Before::Step { end: StepEnd::Truncated, .. } => Some(2),
        };
        let mut x = self.rows("token/end", window, |t, r| on(end(&t) == Some(r)))?;
        if self.network.model.rewards {
            x = (x + self.rows("token/reward", window, |t, _| reward(&t))?)?;
            x = (x + self.rows("token/any_reward", window, |t, _| on(step(&t) && !t.masked.reward))?)?;
            x = (x + self.rows("token/masked_reward", window, |t, _| on(step(&t) && t.masked.reward))?)?;
        }
        Ok(x)
    }

    /// Turns `[n, head]` by the rows' positions.
    fn turned(&self, x: &Tensor) -> Result<Tensor> {
        let (n, width) = x.dims2()?;
        if self.network.model.positions == Positions::Alibi {
            return Ok(x.clone());
        }
        let pairs = width / 2;
        let angle = |p: usize, i: usize| p as f64 * 10_000.0_f64.powf(-(i as f64) / pairs as f64);
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> =
                (0..n).flat_map(|p| (0..pairs).map(move |i| f(angle(p, i)) as f32)).collect();
            Tensor::from_vec(values, (n, pairs), &Device::Cpu)
        };
        let (cos, sin) = (table(f64::cos)?, table(f64::sin)?);
        let x = x.reshape((n, pairs, 2))?;
        let (a, b) = (x.narrow(2, 0, 1)?.squeeze(2)?, x.narrow(2, 1, 1)?.squeeze(2)?);
        let first = ((&a * &cos)? - (&b * &sin)?)?;
        let second = ((&a * &sin)? + (&b * &cos)?)?;
        Tensor::stack(&[first, second], 2)?.reshape((n, width))
    }

    fn attention(&self, block: usize, x: &Tensor) -> Result<Tensor> {
        let model = &self.network.model;
        let (n, d, head) = (x.dim(0)?, model.width, model.head_width());
        let inputs = self.linear(&format!("block{block}/inputs"), x)?;
        let mut heads = Vec::new();
        for h in 0..model.heads {
            let part = |what: usize| inputs.narrow(1, what * d + h * head, head);
            let (q, k, v) = (self.turned(&part(0)?)?, self.turned(&part(1)?)?, part(2)?);
            let sink = |name: &str| {
                self.part(&format!("block{block}/{name}")).narrow(0, h * head, head)?.unsqueeze(0)
            };
            let slope = (-8.0 * (h + 1) as f64 / model.heads as f64).exp2();
            let bias: Vec<f32> = (0..n)
                .flat_map(|i| (0..n).map(move |j| (i, j)))
                .map(|(i, j)| {
                    if j > i || i - j >= model.token_window() {
                        -1e30
                    } else if model.positions == Positions::Rotary {
                        0.0
                    } else {
                        -(slope * (i - j) as f64) as f32
                    }
                })
                .collect();
            let bias = Tensor::from_vec(bias, (n, n), &Device::Cpu)?;
            let scale = 1.0 / (head as f64).sqrt();
            let scores = ((q.matmul(&k.t()?)? * scale)? + bias)?;
            let sinks = (q.matmul(&sink("sink_key")?.t()?)? * scale)?;
            let all = Tensor::cat(&[&scores, &sinks], 1)?;
            let all = all.broadcast_sub(&all.max_keepdim(1)?.detach())?.exp()?;
            let shares = all.broadcast_div(&all.sum_keepdim(1)?)?;
            heads.push(shares.matmul(&Tensor::cat(&[&v, &sink("sink_value")?], 0)?)?);
        }
        self.linear(&format!("block{block}/output"), &Tensor::cat(&heads, 1)?)
    }

    fn logits(&self, window: &Window) -> Result<Tensor> {
        let mut x = self.tokens(window)?;
        for b in 0..self.network.model.layers {
            let attended = self.attention(b, &self.norm(&format!("block{b}/norm"), &x)?)?;
            x = (x + attended)?;
            let hidden =
                self.linear(&format!("block{b}/up"), &self.norm(&format!("block{b}/feed_norm"), &x)?)?;
            x = (x + self.linear(&format!("block{b}/down"), &hidden.relu()?)?)?;
        }
        self.linear("head", &self.norm("norm", &x)?)
    }

    fn loss(&self, window: &Window, logits: &Tensor, smoothing: f64) -> Result<Tensor> {
        let n = window.len();
        // Of the last token of each step.
        let count = self.network.model.tokens.count();
        let width = logits.dim(1)?;
        let logits = logits.reshape((n, count, width))?.narrow(1, count - 1, 1)?.squeeze(1)?;
        let mut at = 0;
        let mut loss = Tensor::zeros((), DType::F32, &Device::Cpu)?;
        for (dim, bins) in self.network.shape.action.iter().enumerate() {
            let part = logits.narrow(1, at, bins.count())?;
            at += bins.count();
            let log = part.broadcast_sub(&part.exp()?.sum_keepdim(1)?.log()?)?;
            let share = |i: usize, b: usize| {
                let right = f64::from(u8::from(window.target(i)[dim] as usize == b));
                let share = (1.0 - smoothing) * right + smoothing / bins.count() as f64;
                f64::from(window.weight(i)) * share / self.network.shape.action.len() as f64
            };
            let shares: Vec<f32> =
                (0..n).flat_map(|i| (0..bins.count()).map(move |b| share(i, b) as f32)).collect();
            let shares = Tensor::from_vec(shares, (n, bins.count()), &Device::Cpu)?;
            loss = (loss - (log * shares)?.sum(D::Minus1)?.sum_all()?)?;
        }
        Ok(loss)
    }
}

fn close(what: &str, ours: &[f32], theirs: &[f32], bound: f32) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let scale = theirs.iter().fold(1e-3_f32, |m, x| m.max(x.abs()));
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= bound * scale, "{what}[{i}]: {a} beside {b} (largest {scale})");
    }
}

#[test]
fn passes_by_hand_equal_autograd_over_primitives() {
    use StepTokens::{Merged, Triplet};
    for (tokens, positions, heads, window_size, n, returns_to_go) in [
        (Merged, Positions::Alibi, 2, 9, 41, false),
        (Merged, Positions::Rotary, 2, 9, 41, true),
        (Merged, Positions::Alibi, 4, 70, 100, false),
        (Merged, Positions::Alibi, 1, 5, 3, true),
        (Triplet, Positions::Alibi, 2, 4, 33, true),
        (Triplet, Positions::Rotary, 2, 20, 15, false),
    ] {
        let model = ModelConfig {
            width: 16,
            layers: 2,
            heads,
            feed_forward: 24,
            window: window_size,
            tokens,
            positions,
            action_bins: 7,
            rewards: true,
            returns_to_go,
        };
        let network = Network::new(model, TokenShape { return_to_go: returns_to_go, ..shape() });
        let theta = random_theta(&network, 3);
        let window = window(&network.shape, n, 5, true);
        let mut arrays = Arrays::new();
        network.layout.export("", &theta, &mut arrays);
        let parts = arrays
            .iter()
            .map(|(name, (dims, values))| {
                let tensor = Tensor::from_slice(values, dims.as_slice(), &Device::Cpu).unwrap();
                (name.clone(), Var::from_tensor(&tensor).unwrap())
            })
            .collect();
        let eager = Eager { network: &network, parts };
        let logits = eager.logits(&window).unwrap();
        let mut pass = Pass::default();
        network.forward(&theta, &window, &mut pass);
        close("logits", &pass.logits, &logits.flatten_all().unwrap().to_vec1().unwrap(), 2e-5);
        let sums = network.loss(&window, 0.1, 1.0, &mut pass);
        let loss = eager.loss(&window, &logits, 0.1).unwrap();
        let expected = f64::from(loss.to_scalar::<f32>().unwrap());
        assert!((sums.loss - expected).abs() < 1e-5 * expected, "{} {expected}", sums.loss);
        let mut gradient = vec![0.0; theta.len()];
        network.backward(&theta, &window, &mut pass, &mut gradient);
        let theirs = loss.backward().unwrap();
        let mut ours = Arrays::new();
        network.layout.export("", &gradient, &mut ours);
        for (name, (_, ours)) in &ours {
            let theirs = theirs.get(&eager.parts[name]).unwrap_or_else(|| panic!("{name} has no gradient"));
            close(name, ours, &theirs.flatten_all().unwrap().to_vec1().unwrap(), 1e-4);
        }
    }
}

#[test]
fn every_parameter_gets_a_gradient() {
    for (tokens, positions) in [
        (StepTokens::Merged, Positions::Alibi),
        (StepTokens::Merged, Positions::Rotary),
        (StepTokens::Triplet, Positions::Alibi),
    ] {
        let model = ModelConfig {
            width: 16,
            layers: 3,
            heads: 2,
            feed_forward: 32,
            window: 20,
            tokens,
            positions,
            ..ModelConfig::default()
        };
        let shape = shape();
        let (layout, theta) = Layout::initial(&model, &shape, 1);
        let network = Network::new(model, shape);
        let mut gradient = vec![0.0; theta.len()];
        let mut pass = Pass::default();
        for seed in 0..8 {
            let window = window(&network.shape, 40, seed, true);
            network.forward(&theta, &window, &mut pass);
            network.loss(&window, 0.0, 1.0, &mut pass);
            network.backward(&theta, &window, &mut pass, &mut gradient);
        }
        let mut arrays = Arrays::new();
        layout.export("", &gradient, &mut arrays);
        for (name, (_, values)) in arrays {
            // A hidden unit may be off for all that is seen here, and a bias of all keys alike changes no share but the sink's.
            let moving = values.iter().filter(|x| x.abs() > 0.0).count();
            assert!(10 * moving > 9 * values.len(), "{name}: {moving} of {} move", values.len());
        }
    }
}
