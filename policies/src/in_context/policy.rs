//! The transformer as it acts: it remembers across episodes and learns from what it remembers; its weights stay as they are.

use serde::Serialize;
use surefoot_core::{
    ActMode, Feedback, Normalizer, Outcome, Policy, PolicyArtifact, PolicyError, ResetScope, Rows, RowsMut,
    StepEnd, Stream,
};

use super::artifact::{Acting, Loaded, read};
use super::decode::{Context, Decoder};
use super::network::Network;
use super::shape::Bins;
use super::tokens::{Before, Masked, Token};

/// What was kept out of contexts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Poison {
    /// Observations that were not finite: the context stays as it was, and the fallback acts.
    pub observations: u64,
    /// Rewards that were not finite: the context says that they are unknown.
    pub rewards: u64,
    /// Rewards beyond any in the training data: the context holds the largest.
    pub clipped_rewards: u64,
}

/// One robot.
#[derive(Clone, Debug)]
struct Slot {
    context: Context,
    seed: u64,
    /// Step of the episode, in tokens.
    step: usize,
    /// Control steps of the episode.
    ticks: u64,
    /// What the last token's action was, as far as it is known: bins of what was executed, of what was chosen before that is heard.
    /// Nothing has happened yet where this is not `lived`.
    bins: Vec<u32>,
    /// Bins of what was chosen, held until the next token.
    held: Vec<u32>,
    /// Sum of what was executed since the last token, over so many control steps; of a choice, the last one.
    executed: Vec<f32>,
    executed_steps: u32,
    lived: bool,
    /// Since the last token, in units of the data's largest.
    reward: f32,
    reward_known: bool,
    end: StepEnd,
    /// What the rest of the episode is asked to bring, in units of the data's largest return.
    return_to_go: f32,
}

impl Slot {
    fn new(network: &Network, seed: u64) -> Self {
        Self {
            context: Context::new(network),
            seed,
            step: 0,
            ticks: 0,
            bins: vec![0; network.shape.action.len()],
            held: vec![0; network.shape.action.len()],
            executed: vec![0.0; network.shape.action.len()],
            executed_steps: 0,
            lived: false,
            reward: 0.0,
            reward_known: true,
            end: StepEnd::Running,
            return_to_go: 1.0,
        }
    }

    /// Takes a number of an action as what was done.
    fn did(&mut self, shape: &[Bins], action: &[f32]) {
        for ((bin, bins), a) in self.bins.iter_mut().zip(shape).zip(action) {
            *bin = bins.bin_of(*a);
        }
        self.held.copy_from_slice(&self.bins);
        self.executed_steps = 0;
    }

    /// What was executed of the token's action in one control step more.
    fn executed(&mut self, shape: &[Bins], action: &[f32]) {
        self.executed_steps = self.executed_steps.saturating_add(1);
        let steps = self.executed_steps as f32;
        let sums = self.executed.iter_mut().zip(action);
        for ((bin, bins), (sum, a)) in self.bins.iter_mut().zip(shape).zip(sums) {
            let mean = match bins {
                Bins::Choices(_) => {
                    *sum = *a;
                    *a
                }
                Bins::Evenly(_) => {
                    *sum = if self.executed_steps == 1 { *a } else { *sum + a };
                    *sum / steps
                }
            };
            *bin = bins.bin_of(mean);
        }
    }
}

/// A frozen transformer that learns in context. `reset(Task)` forgets, `reset(Episode)` remembers.
pub struct InContextPolicy {
    network: Network,
    theta: Vec<f32>,
    normalizer: Normalizer,
    reward_scale: f32,
    return_scale: f32,
    masks_trained: bool,
    acting: Acting,
    slots: Vec<Slot>,
    decoder: Decoder,
    observation: Vec<f32>,
    fallback: Option<Box<dyn Policy>>,
    fallback_actions: Vec<f32>,
    /// Of an action that somebody else takes.
    unused_action: Vec<f32>,
    poison: Poison,
    fingerprint: [u8; 32],
}

/// What a saved context begins with.
const MAGIC: &[u8; 8] = b"SFCTX\0\0\x02";

impl InContextPolicy {
    /// From its files, for `slots` robots.
    ///
    /// # Errors
    /// [`PolicyError::Artifact`] when the format, the architecture or an array is not what the card promises.
    pub fn from_artifact(files: &PolicyArtifact, slots: usize) -> Result<Self, PolicyError> {
        let Loaded { network, theta, reward_scale, return_scale, masks_trained, acting } = read(files)?;
        let slots: Vec<Slot> = (0..slots as u64).map(|i| Slot::new(&network, i)).collect();
        let fingerprint = fingerprint(&theta);
        Ok(Self {
            decoder: Decoder::new(&network),
            observation: vec![0.0; network.shape.observation.len()],
            fallback: None,
            fallback_actions: vec![0.0; slots.len() * network.shape.action.len()],
            unused_action: vec![0.0; network.shape.action.len()],
            poison: Poison::default(),
            normalizer: files.card.normalizer.clone(),
            fingerprint,
            network,
            theta,
            reward_scale,
            return_scale,
            masks_trained,
            acting,
            slots,
        })
    }

    /// Who acts while an observation is not finite; without one such an action is NaN, on which a safety chain brakes.
    ///
    /// # Errors
    /// [`PolicyError::Shape`] when it has too few slots.
    pub fn with_fallback(mut self, fallback: Box<dyn Policy>) -> Result<Self, PolicyError> {
        if fallback.slots() < self.slots.len() {
            let (expected, found) = (self.slots.len(), fallback.slots());
            return Err(PolicyError::Shape { what: "slots of the fallback policy", expected, found });
        }
        self.fallback = Some(fallback);
        Ok(self)
    }

    /// What was kept out of contexts so far.
    #[must_use]
    pub const fn poison(&self) -> Poison {
        self.poison
    }

    /// Hash of the weights as they are now.
    #[must_use]
    pub fn weights_hash(&self) -> [u8; 32] {
        fingerprint(&self.theta)
    }

    /// Logits of the last action, `[logits]`.
    #[must_use]
    pub fn last_logits(&self) -> &[f32] {
        &self.decoder.logits
    }

    /// Tokens that a slot has lived through since its last `reset(Task)`.
    #[must_use]
    pub fn lived(&self, slot: usize) -> u64 {
        self.slots.get(slot).map_or(0, |s| s.context.position)
    }

    /// Everything that a slot remembers, to be given back later to a policy of the same weights: it then acts to the same bit as if
    /// nothing had happened in between.
    ///
    /// # Errors
    /// When there is no such slot.
    pub fn save_context(&self, slot: usize) -> Result<Vec<u8>, PolicyError> {
        let Some(s) = self.slots.get(slot) else { return Err(self.no_slot(slot)) };
        let Slot {
            context,
            seed,
            step,
            ticks,
            bins,
            held,
            executed,
            executed_steps,
            lived,
            reward,
            reward_known,
            end,
            return_to_go,
        } = s;
        let mut bytes = Vec::with_capacity(self.saved_len(bins.len(), context.rings.len()));
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.fingerprint);
        for number in [context.position, *seed, *step as u64, *ticks] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let end = match end {
            StepEnd::Running => 0,
            StepEnd::Terminated => 1,
            StepEnd::Truncated => 2,
        };
        bytes.extend_from_slice(&[u8::from(*lived), u8::from(*reward_known), end, 0]);
        bytes.extend_from_slice(&reward.to_le_bytes());
        if self.network.shape.return_to_go {
            bytes.extend_from_slice(&return_to_go.to_le_bytes());
        }
        bytes.extend_from_slice(&executed_steps.to_le_bytes());
        bins.iter().chain(held).for_each(|b| bytes.extend_from_slice(&b.to_le_bytes()));
        executed.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes()));
        context.rings.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes()));
        Ok(bytes)
    }

    /// Takes a saved context back.
    ///
    /// # Errors
    /// When there is no such slot, or the bytes are damaged or of other weights; nothing has changed then.
    pub fn restore_context(&mut self, slot: usize, bytes: &[u8]) -> Result<(), PolicyError> {
        if slot >= self.slots.len() {
            return Err(self.no_slot(slot));
        }
        let bad = |reason: &str| PolicyError::Artifact { what: "context", reason: reason.to_owned() };
        let mut fresh = Slot::new(&self.network, 0);
        let expected = self.saved_len(fresh.bins.len(), fresh.context.rings.len());
        if bytes.get(..8) != Some(MAGIC.as_slice()) {
            return Err(bad("it does not begin as a saved context does"));
        }
        if bytes.get(8..40) != Some(self.fingerprint.as_slice()) {
            return Err(bad(
                "it was saved by a policy of other weights, to which these numbers mean nothing",
            ));
        }
        if bytes.len() != expected {
            return Err(bad(&format!("expected {expected} bytes, found {}", bytes.len())));
        }
        let word = |at: usize| bytes[at..at + 8].iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b));
        let half = |at: usize| bytes[at..at + 4].iter().rev().fold(0_u32, |n, b| n << 8 | u32::from(*b));
        fresh.context.position = word(40);
        fresh.seed = word(48);
        fresh.step = usize::try_from(word(56)).map_err(|_| bad("the step of its episode is too large"))?;
        fresh.ticks = word(64);
        fresh.end = match (bytes[72], bytes[73], bytes[74]) {
            (0 | 1, 0 | 1, 0) => StepEnd::Running,
            (0 | 1, 0 | 1, 1) => StepEnd::Terminated,
            (0 | 1, 0 | 1, 2) => StepEnd::Truncated,
            _ => return Err(bad("its marks are none")),
        };
        (fresh.lived, fresh.reward_known) = (bytes[72] == 1, bytes[73] == 1);
        fresh.reward = f32::from_bits(half(76));
        let mut at = 80;
        if self.network.shape.return_to_go {
            fresh.return_to_go = f32::from_bits(half(at));
            at += 4;
        }
        fresh.executed_steps = half(at);
        at += 4;
        for row in [&mut fresh.bins, &mut fresh.held] {
            for (bin, bins) in row.iter_mut().zip(&self.network.shape.action) {
                *bin = half(at);
                at += 4;
                if *bin as usize >= bins.count() {
                    return Err(bad("its last action is none"));
                }
            }
        }
        for x in fresh.executed.iter_mut().chain(&mut fresh.context.rings) {
            *x = f32::from_bits(half(at));
            at += 4;
            if !x.is_finite() {
                return Err(bad("it holds numbers that are not finite"));
            }
        }
        if !(fresh.reward.is_finite() && fresh.return_to_go.is_finite()) {
            return Err(bad("its reward is not finite"));
        }
        self.slots[slot] = fresh;
        Ok(())
    }

    /// Bytes of a saved context.
    const fn saved_len(&self, action_dim: usize, rings: usize) -> usize {
        let wants = if self.network.shape.return_to_go { 1 } else { 0 };
        84 + 4 * (wants + 3 * action_dim + rings)
    }

    fn no_slot(&self, found: usize) -> PolicyError {
        PolicyError::Shape { what: "slot (below)", expected: self.slots.len(), found }
    }

    /// The fallback's action, or NaN.
    fn fall_back(&mut self, i: usize, action: &mut [f32]) {
        self.poison.observations += 1;
        let dim = action.len();
        match &self.fallback {
            Some(_) => action.copy_from_slice(&self.fallback_actions[i * dim..(i + 1) * dim]),
            None => action.fill(f32::NAN),
        }
        self.slots[i].did(&self.network.shape.action, action);
    }

    fn decide(&mut self, i: usize, temperature: f64, action: &mut [f32]) {
        let slot = &mut self.slots[i];
        let before = if slot.lived {
            Before::Step { action: &slot.bins, reward: slot.reward, end: slot.end }
        } else {
            Before::Nothing
        };
        // A policy that has never missed a reward takes an unknown one for none.
        let masked = Masked { reward: !slot.reward_known && self.masks_trained, ..Masked::default() };
        let token = Token {
            observation: &self.observation,
            before,
            step: slot.step,
            masked,
            return_to_go: slot.return_to_go,
        };
        self.decoder.step(&self.network, &self.theta, token, &mut slot.context);
        let mut stream = Stream::new(slot.seed, "in-context", slot.context.position);
        let mut rest = &self.decoder.logits[..];
        for ((bins, bin), a) in self.network.shape.action.iter().zip(&mut slot.bins).zip(action) {
            let (logits, after) = rest.split_at(bins.count());
            rest = after;
            *bin = draw(logits, temperature, &mut stream);
            *a = bins.action_of(*bin);
        }
        slot.held.copy_from_slice(&slot.bins);
        slot.executed_steps = 0;
        slot.lived = true;
        slot.step += 1;
        (slot.reward, slot.reward_known, slot.end) = (0.0, true, StepEnd::Running);
    }
}

fn fingerprint(theta: &[f32]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    theta.iter().for_each(|x| {
        hasher.update(&x.to_le_bytes());
    });
    *hasher.finalize().as_bytes()
}

/// A bin by the softmax of its logits; the likeliest one at temperature 0.
fn draw(logits: &[f32], temperature: f64, stream: &mut Stream) -> u32 {
    let (mut best, mut most) = (0, f32::NEG_INFINITY);
    for (i, l) in logits.iter().enumerate() {
        if *l > most {
            (best, most) = (i, *l);
        }
    }
    if temperature == 0.0 {
        return best as u32;
    }
    let share = |l: &f32| (f64::from(*l - most) / temperature).exp();
    let mut left = stream.unit() * logits.iter().map(share).sum::<f64>();
    for (i, l) in logits.iter().enumerate() {
        left -= share(l);
        if left < 0.0 {
            return i as u32;
        }
    }
    best as u32
}

impl Policy for InContextPolicy {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn reset(&mut self, slot: usize, scope: ResetScope, seed: u64) {
        if let Some(fallback) = &mut self.fallback {
            fallback.reset(slot, scope, seed);
        }
        let Some(slot) = self.slots.get_mut(slot) else { return };
        slot.seed = seed;
        (slot.step, slot.ticks, slot.return_to_go) = (0, 0, 1.0);
        match scope {
            ResetScope::Task => {
                // Rings are read up to the position alone, so what they hold does not matter.
                slot.context.position = 0;
                slot.lived = false;
                slot.bins.fill(0);
                slot.held.fill(0);
                slot.executed.fill(0.0);
                slot.executed_steps = 0;
                (slot.reward, slot.reward_known, slot.end) = (0.0, true, StepEnd::Running);
            }
            // Whoever begins a new episode has ended the last one.
            ResetScope::Episode if slot.lived && slot.end == StepEnd::Running => {
                slot.end = StepEnd::Truncated;
            }
            ResetScope::Episode => {}
        }
    }

    fn act(
        &mut self,
        observations: Rows<'_>,
        mode: ActMode,
        mut actions: RowsMut<'_>,
    ) -> Result<(), PolicyError> {
        let shape = |what, expected, found| {
            if expected == found { Ok(()) } else { Err(PolicyError::Shape { what, expected, found }) }
        };
        let action_dim = self.network.shape.action.len();
        shape("observation dimension", self.observation.len(), observations.dim())?;
        shape("action dimension", action_dim, actions.dim())?;
        shape("action rows", observations.len(), actions.len())?;
        if observations.len() > self.slots.len() {
            let (expected, found) = (self.slots.len(), observations.len());
            return Err(PolicyError::Shape { what: "observation rows (at most)", expected, found });
        }
        if let Some(fallback) = &mut self.fallback {
            let n = observations.len() * action_dim;
            fallback.act(observations, mode, RowsMut::new(&mut self.fallback_actions[..n], action_dim))?;
        }
        let temperature = match mode {
            ActMode::Explore => self.acting.explore_temperature,
            ActMode::Exploit => self.acting.exploit_temperature,
        };
        let stride = u64::from(self.acting.token_stride);
        for i in 0..observations.len() {
            let action = actions.row(i);
            let slot = &mut self.slots[i];
            let held = !slot.ticks.is_multiple_of(stride);
            slot.ticks += 1;
            self.observation.copy_from_slice(observations.row(i));
            if self.observation.iter().any(|x| !x.is_finite()) {
                self.fall_back(i, action);
            } else if held {
                let bins: &[Bins] = &self.network.shape.action;
                for ((bins, bin), a) in bins.iter().zip(&self.slots[i].held).zip(action) {
                    *a = bins.action_of(*bin);
                }
            } else {
                self.normalizer.apply(&mut self.observation);
                self.decide(i, temperature, action);
            }
        }
        Ok(())
    }

    fn remember(&mut self, slot: usize, observation: &[f32], action: &[f32], outcome: &Outcome) {
        let fits =
            observation.len() == self.observation.len() && action.len() == self.network.shape.action.len();
        if slot < self.slots.len() && fits {
            self.take_in(slot, observation, action);
            self.observe(&[Feedback { slot, outcome: *outcome, executed: Some(action) }]);
        }
    }

    fn observe(&mut self, feedback: &[Feedback<'_>]) {
        if let Some(fallback) = &mut self.fallback {
            fallback.observe(feedback);
        }
        let stride = u64::from(self.acting.token_stride);
        for Feedback { slot, outcome, executed } in feedback {
            let Some(slot) = self.slots.get_mut(*slot) else { continue };
            // What is no number is nothing that was done.
            if let Some(action) = executed.filter(|a| a.iter().all(|x| x.is_finite())) {
                slot.executed(&self.network.shape.action, action);
            }
            if slot.ticks.is_multiple_of(stride) {
                // The token is whole: nothing is held any more.
                slot.held.copy_from_slice(&slot.bins);
                slot.executed.fill(0.0);
                slot.executed_steps = 0;
            }
            slot.end = outcome.end;
            if !outcome.reward.is_finite() {
                self.poison.rewards += 1;
                slot.reward_known = false;
                continue;
            }
            slot.return_to_go -= outcome.reward / self.return_scale;
            let reward = slot.reward + outcome.reward / self.reward_scale;
            self.poison.clipped_rewards += u64::from(reward.abs() > 1.0 + 1e-3);
            slot.reward = reward.clamp(-1.0, 1.0);
        }
    }
}

impl InContextPolicy {
    /// A control step in which somebody else acted.
    fn take_in(&mut self, i: usize, observation: &[f32], action: &[f32]) {
        if observation.iter().chain(action).any(|x| !x.is_finite()) {
            self.poison.observations += 1;
            return;
        }
        let slot = &mut self.slots[i];
        let held = !slot.ticks.is_multiple_of(u64::from(self.acting.token_stride));
        slot.ticks += 1;
        if held {
            return;
        }
        self.observation.copy_from_slice(observation);
        self.normalizer.apply(&mut self.observation);
        let mut own = std::mem::take(&mut self.unused_action);
        self.decide(i, 0.0, &mut own);
        self.unused_action = own;
        self.slots[i].did(&self.network.shape.action, action);
    }
}

impl std::fmt::Debug for InContextPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InContextPolicy({} parameters, {} slots)", self.theta.len(), self.slots.len())
    }
}
