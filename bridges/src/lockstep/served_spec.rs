//! What a server says of its environment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use surefoot_core::{EnvSpec, Field};

use super::LockstepError;
use super::codec::Sizes;

/// Version of the protocol, the last byte of [`super::codec::MAGIC`] as a number.
pub const PROTOCOL: u32 = 1;
/// Longest description that is read, bytes.
pub(crate) const MAX_SPEC_BYTES: usize = 1 << 22;
/// Most numbers in a row.
pub(crate) const MAX_DIM: usize = 1 << 14;
/// Most worlds of a server.
pub const MAX_WORLDS: usize = 1024;

/// The answer to a query on `{ns}/env/{id}/spec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServedSpec {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Name of this server instance: 32 hexadecimal digits, others after every start.
    pub server: String,
    /// Names and versions of what runs there.
    pub software: BTreeMap<String, String>,
    /// Worlds of the server, taken or not.
    pub worlds: usize,
    /// Whether a robot with a safety chain is behind the worlds. Where there is none, nothing guards the actions but their bounds.
    pub robot: bool,
    /// What a user should know: conversions, unbounded observations.
    pub notes: Vec<String>,
    /// Names, units, bounds, period.
    pub spec: EnvSpec,
}

/// The version alone, whatever else is said.
#[derive(Deserialize)]
struct Version {
    protocol: u32,
}

impl ServedSpec {
    /// Reads and checks a description.
    ///
    /// # Errors
    /// When it is too long, no JSON, of another version, or says something that cannot be.
    pub fn parse(bytes: &[u8]) -> Result<Self, LockstepError> {
        let wrong = |what: &str, expected: String, found: String| LockstepError::Spec {
            what: what.to_owned(),
            expected,
            found,
        };
        if bytes.len() > MAX_SPEC_BYTES {
            let found = format!("{} bytes", bytes.len());
            return Err(wrong("length", format!("at most {MAX_SPEC_BYTES} bytes"), found));
        }
        let json = |e: serde_json::Error| wrong("text", "its JSON".into(), e.to_string());
        let Version { protocol } = serde_json::from_slice(bytes).map_err(json)?;
        if protocol != PROTOCOL {
            return Err(wrong("protocol", PROTOCOL.to_string(), protocol.to_string()));
        }
        let served: Self = serde_json::from_slice(bytes).map_err(json)?;
        served.check()?;
        Ok(served)
    }

    /// What is answered to who asks.
    pub(crate) fn described(&self) -> Result<Vec<u8>, LockstepError> {
        serde_json::to_vec(self).map_err(|e| LockstepError::Spec {
            what: "spec".into(),
            expected: "numbers that JSON knows".into(),
            found: e.to_string(),
        })
    }

    fn check(&self) -> Result<(), LockstepError> {
        let Self { protocol: _, server, software: _, worlds, robot: _, notes: _, spec } = self;
        let wrong = |what: &str, expected: &str, found: String| {
            Err(LockstepError::Spec { what: what.to_owned(), expected: expected.to_owned(), found })
        };
        if server.len() != 32 || !server.bytes().all(|b| b.is_ascii_hexdigit()) {
            return wrong("server", "32 hexadecimal digits", server.clone());
        }
        if !(1..=MAX_WORLDS).contains(worlds) {
            return wrong("worlds", "1 to 1024", worlds.to_string());
        }
        for (what, row) in [("observation", &spec.observation), ("action", &spec.action)] {
            if row.is_empty() || row.len() > MAX_DIM {
                return wrong(what, "1 to 16384 numbers", row.len().to_string());
            }
            let mut names: Vec<&str> = row.iter().map(|f| f.name.as_str()).collect();
            names.sort_unstable();
            if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
                return wrong(what, "names that differ", format!("{:?} twice", twice[0]));
            }
            let disordered = |f: &&Field| {
                let (low, high) = (f.low.unwrap_or(f32::NEG_INFINITY), f.high.unwrap_or(f32::INFINITY));
                low > high || low.is_nan() || high.is_nan()
            };
            if let Some(field) = row.iter().find(disordered) {
                let found = format!("{:?} to {:?}", field.low, field.high);
                return wrong(&format!("{what} {}", field.name), "low to high", found);
            }
        }
        if !(spec.step_secs.is_finite() && spec.step_secs > 0.0) {
            return wrong("step_secs", "a positive number", spec.step_secs.to_string());
        }
        if spec.max_steps == 0 {
            return wrong("max_steps", "at least 1", "0".into());
        }
        Ok(())
    }

    /// Sizes of its messages.
    #[must_use]
    pub const fn sizes(&self) -> Sizes {
        Sizes {
            observation_dim: self.spec.observation_dim(),
            action_dim: self.spec.action_dim(),
            worlds: self.worlds,
            robot: self.robot,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn served() -> serde_json::Value {
        let field = |name: &str| serde_json::json!({ "name": name, "unit": "1" });
        serde_json::json!({
            "protocol": 1, "server": "0123456789abcdef0123456789abcdef", "software": { "gymnasium": "1.4.0" },
            "worlds": 4, "robot": false, "notes": [],
            "spec": {
                "name": "HalfCheetah-v5", "observation": [field("a"), field("b")], "action": [field("c")],
                "step_secs": 0.05, "max_steps": 1000, "reward_range": null, "contract_hash": null,
            },
        })
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let parse = |value: &serde_json::Value| ServedSpec::parse(&serde_json::to_vec(value).unwrap());
        let good = parse(&served()).unwrap();
        assert_eq!((good.sizes().observation_dim, good.sizes().action_dim), (2, 1));
        for (pointer, value, words) in [
            ("/protocol", serde_json::json!(2), "protocol: expected 1, found 2"),
            ("/server", serde_json::json!("abc"), "32 hexadecimal digits"),
            ("/worlds", serde_json::json!(0), "worlds: expected 1 to 1024"),
            ("/spec/observation", serde_json::json!([]), "observation: expected 1 to 16384"),
            ("/spec/observation/1/name", serde_json::json!("a"), "\"a\" twice"),
            ("/spec/action/0/low", serde_json::json!(3.0), "low to high"),
            ("/spec/step_secs", serde_json::json!(0.0), "step_secs"),
            ("/spec/max_steps", serde_json::json!(0), "max_steps"),
            ("/spec/unknown", serde_json::json!(0), "unknown"),
        ] {
            let mut changed = served();
            match changed.pointer_mut(pointer) {
                Some(place) => *place = value,
                None => {
                    let (parent, key) = pointer.rsplit_once('/').unwrap();
                    changed.pointer_mut(parent).unwrap()[key] = value;
                }
            }
            if pointer == "/spec/action/0/low" {
                changed["spec"]["action"][0]["high"] = serde_json::json!(0.0);
            }
            let said = parse(&changed).unwrap_err().to_string();
            assert!(said.contains(words), "{pointer}: {said}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(ServedSpec::parse(&bytes).is_err());
        }

        #[test]
        fn a_cut_description_is_an_error(part in 0.0_f64..1.0) {
            let whole = serde_json::to_vec(&served()).unwrap();
            let cut = (whole.len() as f64 * part) as usize;
            prop_assert!(ServedSpec::parse(&whole[..cut]).is_err());
        }
    }
}
