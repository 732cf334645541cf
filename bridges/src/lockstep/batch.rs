//! Worlds in other processes, as one batch: one message and one reply a step for each process.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::env::check_row;
use surefoot_core::{EnvBatch, EnvError, EnvSpec, WorldStep};

use super::codec::{HEADER_BYTES, Kind, Sizes, check_text};
use super::link::Link;
use super::spawn::Spawned;
use super::{LinkConfig, LockstepError, ServedSpec, SpawnConfig};

/// What a step's reward is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RewardSource {
    /// The environment's own.
    #[default]
    Environment,
    /// 0 where the environment says there is success, -1 otherwise: the sparse reward of the AWAC experiments.
    Success,
}

/// One server process.
struct Shard {
    link_config: LinkConfig,
    spawn: Option<SpawnConfig>,
    worlds: usize,
    child: Option<Spawned>,
    link: Option<Link>,
}

impl Shard {
    /// A link, a new one if need be, and a new process for it if it is ours and has ended.
    fn link(&mut self) -> Result<&mut Link, LockstepError> {
        if let (Some(spawn), None) = (&self.spawn, &self.link) {
            if !self.child.as_mut().is_some_and(Spawned::is_running) {
                self.child = None;
                self.child = Some(Spawned::start(spawn)?);
            }
            if let Some(child) = &self.child {
                self.link_config.endpoints = vec![child.endpoint.clone()];
            }
        }
        match &mut self.link {
            Some(link) => Ok(link),
            none => Ok(none.insert(Link::open(&self.link_config, self.worlds)?)),
        }
    }

    fn known_link(&mut self) -> Result<&mut Link, LockstepError> {
        self.link.as_mut().ok_or(LockstepError::ServerGone)
    }
}

/// Worlds of one or several server processes.
pub struct LockstepBatch {
    served: ServedSpec,
    spec: EnvSpec,
    reward: RewardSource,
    options: String,
    shards: Vec<Shard>,
    /// Of every world its shard and its place there.
    places: Vec<(usize, usize)>,
    /// Of every world the steps of the episode that it is in.
    episodes: Vec<Option<usize>>,
}

impl LockstepBatch {
    /// Takes up to `worlds` worlds of servers that run already, as evenly as the servers' own numbers allow.
    ///
    /// # Errors
    /// When a server is not there, all its worlds are taken, or it has another environment than the first.
    pub fn connect(servers: Vec<LinkConfig>, worlds: usize) -> Result<Self, LockstepError> {
        Self::open(servers.into_iter().map(|link| (link, None)).collect(), worlds)
    }

    /// Starts server processes, which live as long as this does; `link` says all but their endpoints. A process that ends is
    /// started anew by the next reset.
    ///
    /// # Errors
    /// When a process cannot be started or does not come to listen.
    pub fn spawn(servers: Vec<SpawnConfig>, link: &LinkConfig, worlds: usize) -> Result<Self, LockstepError> {
        Self::open(servers.into_iter().map(|spawn| (link.clone(), Some(spawn))).collect(), worlds)
    }

    fn open(servers: Vec<(LinkConfig, Option<SpawnConfig>)>, worlds: usize) -> Result<Self, LockstepError> {
        let count = servers.len().clamp(1, worlds.max(1));
        let mut shards: Vec<Shard> = servers
            .into_iter()
            .take(count)
            .enumerate()
            .map(|(i, (link_config, spawn))| Shard {
                link_config,
                spawn,
                worlds: worlds.max(1) / count + usize::from(i < worlds.max(1) % count),
                child: None,
                link: None,
            })
            .collect();
        let mut served: Option<ServedSpec> = None;
        let mut places = Vec::new();
        for (index, shard) in shards.iter_mut().enumerate() {
            let link = shard.link()?;
            places.extend((0..link.worlds().len()).map(|place| (index, place)));
            match &served {
                None => served = Some(link.served().clone()),
                Some(first) => same(first, link.served())?,
            }
            shard.worlds = link.worlds().len();
        }
        let Some(served) = served else {
            return Err(LockstepError::Spec {
                what: "servers".into(),
                expected: "at least one endpoint".into(),
                found: "none".into(),
            });
        };
        let spec = served.spec.clone();
        let episodes = vec![None; places.len()];
        let (reward, options) = (RewardSource::Environment, String::new());
        Ok(Self { served, spec, reward, options, shards, places, episodes })
    }

    /// Pays this reward instead of the environment's.
    #[must_use]
    pub fn with_reward(mut self, reward: RewardSource) -> Self {
        self.reward = reward;
        if reward == RewardSource::Success {
            self.spec.reward_range = Some((-1.0, 0.0));
        }
        self
    }

    /// Sends these options (a JSON object) with every reset.
    #[must_use]
    pub fn with_reset_options(mut self, options: String) -> Self {
        self.options = options;
        self
    }

    /// What the first server says of itself.
    #[must_use]
    pub const fn served(&self) -> &ServedSpec {
        &self.served
    }

    /// Process numbers of the servers that were started.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        self.shards.iter().filter_map(|s| s.child.as_ref().map(Spawned::id)).collect()
    }

    /// Drops every episode, and the links that are of no use any more.
    fn lose(&mut self, shard: usize, error: LockstepError) -> EnvError {
        // A world that failed has lost the episodes of its process; its link is as good as before.
        let keeps = matches!(error, LockstepError::Refused { .. }) && !error.is_loss();
        if !keeps {
            self.shards[shard].link = None;
        }
        self.episodes.fill(None);
        error.into_env(&self.spec.name)
    }

    fn send_steps(&mut self, steps: &[WorldStep]) -> Result<(), (usize, LockstepError)> {
        let Self { shards, places, .. } = self;
        for (index, shard) in shards.iter_mut().enumerate() {
            let here = || {
                let own = places.iter().zip(steps).filter(move |((s, _), step)| *s == index && step.active);
                own.map(|((_, place), step)| (*place, step))
            };
            let rows = here().count() as u16;
            if rows == 0 {
                continue;
            }
            let link = shard.known_link().map_err(|e| (index, e))?;
            let worlds: Vec<u16> = link.worlds().to_vec();
            let message = link.begin(Kind::Step, rows);
            for (place, step) in here() {
                Sizes::put_action(worlds[place], &step.action, message);
            }
            link.send().map_err(|e| (index, e))?;
        }
        Ok(())
    }

    fn receive_steps(&mut self, steps: &mut [WorldStep]) -> Result<(), (usize, LockstepError)> {
        let Self { shards, places, served, reward, .. } = self;
        let sizes = served.sizes();
        for (index, shard) in shards.iter_mut().enumerate() {
            let own = places.iter().zip(steps.iter_mut());
            let own = own.filter(|((s, _), step)| *s == index && step.active);
            let failed = |e: LockstepError| (index, e);
            let mut own = own.peekable();
            if own.peek().is_none() {
                continue;
            }
            let link = shard.known_link().map_err(failed)?;
            let mut own: Vec<(u16, &mut WorldStep)> =
                own.map(|((_, place), step)| (link.worlds()[*place], step)).collect();
            let (header, message) = link.receive(Kind::DidStep).map_err(failed)?;
            let mut flags = sizes
                .steps(header.rows, &message[HEADER_BYTES..], &mut own)
                .map_err(|e| failed(e.into()))?
                .into_iter();
            for (_, step) in own {
                let known = flags.next().is_some_and(|f| f.success_known);
                match reward {
                    RewardSource::Environment => {}
                    RewardSource::Success if known => {
                        step.outcome.reward = if step.outcome.success { 0.0 } else { -1.0 };
                    }
                    RewardSource::Success => {
                        return Err(failed(LockstepError::Spec {
                            what: "reward = \"success\"".into(),
                            expected: "an environment that says whether there is success".into(),
                            found: "none of `success` and `is_success` in its info".into(),
                        }));
                    }
                }
            }
        }
        Ok(())
    }
}

impl EnvBatch for LockstepBatch {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn worlds(&self) -> usize {
        self.places.len()
    }

    fn reset(&mut self, world: usize, seed: u64, observation: &mut [f32]) -> Result<(), EnvError> {
        check_row("observation", self.spec.observation_dim(), observation.len())?;
        let (shard, place) = self.places[world];
        self.episodes[world] = None;
        let Self { shards, served, options, .. } = self;
        let sizes = served.sizes();
        let mut reset = || {
            let fresh = shards[shard].link.is_none();
            let link = shards[shard].link()?;
            if fresh {
                same(served, link.served())?;
            }
            let Some(number) = link.worlds().get(place).copied() else {
                return Err(LockstepError::Refused {
                    refusal: super::codec::Refusal::Busy,
                    sentence: "the server that came back has fewer free worlds than before".into(),
                });
            };
            check_text("reset options", options.as_bytes())?;
            let message = link.begin(Kind::Reset, 1);
            Sizes::put_reset(number, seed, message);
            message.extend_from_slice(options.as_bytes());
            link.send()?;
            let (header, message) = link.receive(Kind::DidReset)?;
            Ok(sizes.observation(number, header.rows, &message[HEADER_BYTES..], observation)?)
        };
        if let Err(error) = reset() {
            return Err(self.lose(shard, error));
        }
        self.finite(observation, 0)?;
        self.episodes[world] = Some(0);
        Ok(())
    }

    fn step(&mut self, steps: &mut [WorldStep]) -> Result<(), EnvError> {
        check_row("worlds of a step", self.places.len(), steps.len())?;
        for (world, step) in steps.iter().enumerate().filter(|(_, step)| step.active) {
            check_row("action", self.spec.action_dim(), step.action.len())?;
            check_row("executed action", self.spec.action_dim(), step.executed.len())?;
            check_row("observation", self.spec.observation_dim(), step.observation.len())?;
            if self.episodes[world].is_none() {
                let reason = format!("world {world} is in no episode: it is to be reset first");
                return Err(EnvError::Refused { env: self.spec.name.clone(), reason });
            }
        }
        let done = self.send_steps(steps).and_then(|()| self.receive_steps(steps));
        if let Err((shard, error)) = done {
            return Err(self.lose(shard, error));
        }
        for (world, step) in steps.iter().enumerate().filter(|(_, step)| step.active) {
            let taken = self.episodes[world].map_or(1, |n| n + 1);
            self.finite(&step.observation, taken)?;
            self.episodes[world] = (!step.outcome.end.is_last()).then_some(taken);
        }
        Ok(())
    }

    fn notes(&self) -> Vec<String> {
        self.served.notes.clone()
    }

    fn set_speed_scale(&mut self, scale: f64) -> Result<(), EnvError> {
        if scale == 1.0 {
            return Ok(());
        }
        let reason = format!("speed scale {scale}: worlds in another process cannot be slowed down");
        Err(EnvError::Build { env: self.spec.name.clone(), reason })
    }
}

impl LockstepBatch {
    fn finite(&self, row: &[f32], step: usize) -> Result<(), EnvError> {
        let Some((index, value)) = row.iter().enumerate().find(|(_, x)| !x.is_finite()) else {
            return Ok(());
        };
        let name = self.spec.observation.get(index).map_or("?", |field| field.name.as_str());
        let what = format!("observation {name} is {value}");
        Err(EnvError::Diverged { env: self.spec.name.clone(), step, what })
    }
}

/// Whether both servers have the same environment.
fn same(first: &ServedSpec, other: &ServedSpec) -> Result<(), LockstepError> {
    let differ = |what: &str, expected: String, found: String| {
        (expected != found).then(|| surefoot_core::SpecDifference { what: what.into(), expected, found })
    };
    let (a, b) = (&first.spec, &other.spec);
    let difference = a
        .first_difference(b)
        .or_else(|| differ("name", a.name.clone(), b.name.clone()))
        .or_else(|| differ("max_steps", a.max_steps.to_string(), b.max_steps.to_string()))
        .or_else(|| differ("reward range", format!("{:?}", a.reward_range), format!("{:?}", b.reward_range)))
        .or_else(|| differ("robot", first.robot.to_string(), other.robot.to_string()));
    difference.map_or(Ok(()), |d| Err(LockstepError::Changed(d)))
}
