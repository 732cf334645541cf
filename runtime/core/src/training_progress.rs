//! How far training has come, for worlds that change with it.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How far training has come when an episode begins. What a world makes of it is a function of this alone, so a resumed run goes on with the
/// same worlds.
#[derive(Clone, Copy, Debug)]
pub struct TrainingProgress<'a> {
    /// Env steps of the run, over all phases.
    pub env_steps: u64,
    /// The training episodes of the run that have ended.
    pub successes: &'a SuccessHistory,
}

/// Whether each training episode was solved, in order. Written down as `LENGTH:BITS`, four episodes to a hexadecimal digit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SuccessHistory {
    /// Eight episodes to a byte, the first one in its highest bit.
    bits: Vec<u8>,
    episodes: usize,
}

impl SuccessHistory {
    /// Adds the next episode.
    pub fn push(&mut self, success: bool) {
        let place = self.episodes % 8;
        if place == 0 {
            self.bits.push(0);
        }
        if let Some(byte) = self.bits.last_mut() {
            *byte |= u8::from(success) << (7 - place);
        }
        self.episodes += 1;
    }

    /// Episodes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.episodes
    }

    /// Whether no episode has ended yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.episodes == 0
    }

    /// Whether each was solved, from the first one on.
    pub fn iter(&self) -> impl Iterator<Item = bool> + '_ {
        let bits = self.bits.iter().flat_map(|byte| (0..8).map(move |place| byte >> (7 - place) & 1 == 1));
        bits.take(self.episodes)
    }
}

impl FromIterator<bool> for SuccessHistory {
    fn from_iter<I: IntoIterator<Item = bool>>(episodes: I) -> Self {
        let mut history = Self::default();
        episodes.into_iter().for_each(|success| history.push(success));
        history
    }
}

impl Serialize for SuccessHistory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits: String = self.bits.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&format!("{}:{digits}", self.episodes))
    }
}

impl<'de> Deserialize<'de> for SuccessHistory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        read(&text)
            .ok_or_else(|| D::Error::custom(format!("expected LENGTH:BITS of episodes, found {text:?}")))
    }
}

fn read(text: &str) -> Option<SuccessHistory> {
    let (episodes, digits) = text.split_once(':')?;
    let episodes: usize = episodes.parse().ok()?;
    if digits.len() != 2 * episodes.div_ceil(8) {
        return None;
    }
    let byte = |i: usize| u8::from_str_radix(digits.get(2 * i..2 * i + 2)?, 16).ok();
    let bits = (0..digits.len() / 2).map(byte).collect::<Option<Vec<u8>>>()?;
    Some(SuccessHistory { bits, episodes })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_read_is_what_was_written(episodes in prop::collection::vec(any::<bool>(), 0..40)) {
            let history: SuccessHistory = episodes.iter().copied().collect();
            prop_assert_eq!((history.len(), history.is_empty()), (episodes.len(), episodes.is_empty()));
            prop_assert_eq!(history.iter().collect::<Vec<_>>(), episodes);
            let text = serde_json::to_string(&history).unwrap();
            prop_assert_eq!(serde_json::from_str::<SuccessHistory>(&text).unwrap(), history);
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in ["\"\"", "\"9:ff\"", "\"8:f\"", "\"-1:\"", "\"1:zz\"", "\"1:é\"", "3"] {
            assert!(serde_json::from_str::<SuccessHistory>(bad).is_err(), "{bad}");
        }
        let five: SuccessHistory = [true, false, true, true, false].into_iter().collect();
        assert_eq!(serde_json::to_string(&five).unwrap(), "\"5:b0\"");
    }
}
