//! Quality of service, as liveliness tokens say it.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use super::names::cut;

/// Whether a sample may be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reliability {
    /// Lost samples are sent again.
    #[default]
    Reliable,
    /// They are not.
    BestEffort,
}

/// Whether late subscribers get old samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// They do not.
    #[default]
    Volatile,
    /// They get what the publisher keeps.
    TransientLocal,
}

/// How many samples are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// The newest.
    KeepLast(NonZeroU32),
    /// All of them: a full queue then blocks the publisher.
    KeepAll,
}

/// Spans of a profile: seconds and nanoseconds as the token writes them; empty where there is no bound. rmw_zenoh implements
/// none of these, so the age of what arrives is for the application to check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Spans {
    deadline: String,
    lifespan: String,
    liveliness: String,
}

/// Quality of service of an endpoint. Its text is that of liveliness tokens, in which defaults are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qos {
    /// Whether a sample may be lost.
    pub reliability: Reliability,
    /// Whether late subscribers get old samples.
    pub durability: Durability,
    /// How many are kept.
    pub history: History,
    spans: Spans,
}

/// Samples that are kept where a token does not say: rmw_zenoh's own default.
const DEFAULT_DEPTH: NonZeroU32 = NonZeroU32::MIN.saturating_add(41);

/// Why a text is no quality of service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is no quality of service: expected reliability:durability:history,depth:deadline:lifespan:liveliness, as in \
     `::,1:,:,:,,`"
)]
pub struct QosError {
    found: String,
}

impl Qos {
    /// Reliable and volatile, keeping the newest `depth` samples.
    #[must_use]
    pub fn reliable(depth: NonZeroU32) -> Self {
        Self {
            reliability: Reliability::Reliable,
            durability: Durability::Volatile,
            history: History::KeepLast(depth),
            spans: Spans { deadline: ",".into(), lifespan: ",".into(), liveliness: ",,".into() },
        }
    }

    /// As [`reliable`](Self::reliable), but samples may be lost.
    #[must_use]
    pub fn best_effort(depth: NonZeroU32) -> Self {
        Self { reliability: Reliability::BestEffort, ..Self::reliable(depth) }
    }
}

impl fmt::Display for Qos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reliability = match self.reliability {
            Reliability::Reliable => "",
            Reliability::BestEffort => "2",
        };
        let durability = match self.durability {
            Durability::Volatile => "",
            Durability::TransientLocal => "1",
        };
        write!(f, "{reliability}:{durability}:")?;
        match self.history {
            History::KeepLast(DEFAULT_DEPTH) => f.write_str(",")?,
            History::KeepLast(depth) => write!(f, ",{depth}")?,
            History::KeepAll => f.write_str("2,")?,
        }
        let Spans { deadline, lifespan, liveliness } = &self.spans;
        write!(f, ":{deadline}:{lifespan}:{liveliness}")
    }
}

impl FromStr for Qos {
    type Err = QosError;
    fn from_str(text: &str) -> Result<Self, QosError> {
        parse(text).ok_or_else(|| QosError { found: cut(text) })
    }
}

fn parse(text: &str) -> Option<Qos> {
    let mut parts = text.split(':');
    let reliability = match parts.next()? {
        "" | "1" => Reliability::Reliable,
        "2" => Reliability::BestEffort,
        _ => return None,
    };
    let durability = match parts.next()? {
        "" | "2" => Durability::Volatile,
        "1" => Durability::TransientLocal,
        _ => return None,
    };
    let history = match parts.next()?.split_once(',')? {
        ("" | "1", "") => History::KeepLast(DEFAULT_DEPTH),
        ("" | "1", depth) => History::KeepLast(depth.parse().ok()?),
        ("2", _) => History::KeepAll,
        _ => return None,
    };
    let mut spans = |commas: usize| {
        let span = parts.next()?;
        let numbers = span.len() <= 64 && span.bytes().all(|b| b.is_ascii_digit() || b == b',');
        (numbers && span.matches(',').count() == commas).then(|| span.to_owned())
    };
    let spans = Spans { deadline: spans(1)?, lifespan: spans(1)?, liveliness: spans(2)? };
    parts.next().is_none().then_some(Qos { reliability, durability, history, spans })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: NonZeroU32 = NonZeroU32::MIN;

    #[test]
    fn profiles_have_the_texts_of_rmw_zenoh() {
        let seven = NonZeroU32::new(7).unwrap();
        assert_eq!(Qos::reliable(ONE).to_string(), "::,1:,:,:,,");
        assert_eq!(Qos::best_effort(ONE).to_string(), "2::,1:,:,:,,");
        assert_eq!(Qos::best_effort(seven).to_string(), "2::,7:,:,:,,");
        let latched = Qos { durability: Durability::TransientLocal, ..Qos::reliable(ONE) };
        assert_eq!(latched.to_string(), ":1:,1:,:,:,,");
        assert_eq!(Qos { history: History::KeepAll, ..Qos::reliable(ONE) }.to_string(), "::2,:,:,:,,");
    }

    #[test]
    fn texts_are_read_back_and_nonsense_is_refused() {
        for text in
            ["::,1:,:,:,,", "2::,1:,:,:,,", ":1:,1:,:,:,,", "::2,:,:,:,,", "::,:,:,:,,", "::,9:1,0:,5:2,3,0"]
        {
            assert_eq!(text.parse::<Qos>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "::",
            "::,0:,:,:,,",
            "3::,1:,:,:,,",
            "::,1:,:,:,",
            "::,1:,:,:,,:",
            "::,x:,:,:,,",
            "::,1:a,:,:,,",
        ] {
            assert!(
                text.parse::<Qos>().unwrap_err().to_string().contains("reliability:durability"),
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_profile_or_an_error(text in "[0-9:,]{0,24}") {
            if let Ok(qos) = text.parse::<Qos>() {
                prop_assert_eq!(qos.to_string().parse::<Qos>(), Ok(qos));
            }
        }
    }
}
