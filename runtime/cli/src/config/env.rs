//! `[env.NAME]`: a world of this process, or one behind a link. Each crate has its own registry; here they are one choice.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::StringDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, Visitor};
use serde::{Deserialize, Serialize};
use surefoot_bridges::LinkedEnvConfig;

/// An environment.
// A run has one of these.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum EnvConfig {
    /// A world of this process.
    Local(surefoot_sim::EnvConfig),
    /// Worlds in other processes.
    Linked(LinkedEnvConfig),
}

impl EnvConfig {
    /// Every registered name.
    pub fn names() -> Vec<&'static str> {
        [surefoot_sim::EnvConfig::NAMES, LinkedEnvConfig::NAMES].concat()
    }

    /// The names of the worlds of this process: those with a robot that can be served or driven.
    pub const fn local_names() -> &'static [&'static str] {
        surefoot_sim::EnvConfig::NAMES
    }

    /// The registered name of this choice.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Local(config) => config.name(),
            Self::Linked(config) => config.name(),
        }
    }

    /// The default configuration of a registered name.
    pub fn default_of(name: &str) -> Option<Self> {
        let local = surefoot_sim::EnvConfig::default_of(name).map(Self::Local);
        local.or_else(|| LinkedEnvConfig::default_of(name).map(Self::Linked))
    }
}

impl<'de> Deserialize<'de> for EnvConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum("EnvConfig", ALL, Choice)
    }
}

/// For formats that want the names beforehand; TOML and JSON do not.
const ALL: &[&str] = &[];

struct Choice;

impl<'de> Visitor<'de> for Choice {
    type Value = EnvConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an environment, one of {}", EnvConfig::names().join(", "))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<EnvConfig, A::Error> {
        let (name, settings) = access.variant_seed(Name)?;
        let linked = LinkedEnvConfig::NAMES.contains(&name.as_str());
        let named = Named { name, settings };
        if linked {
            LinkedEnvConfig::deserialize(named).map(EnvConfig::Linked)
        } else {
            surefoot_sim::EnvConfig::deserialize(named).map(EnvConfig::Local)
        }
    }
}

/// Reads a registered name, so that an unknown one is told with all there are and at its place in the file.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an environment's name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<String, E> {
        let names = EnvConfig::names();
        if names.contains(&name) {
            return Ok(name.to_owned());
        }
        Err(E::custom(format_args!("unknown variant `{name}`, expected one of `{}`", names.join("`, `"))))
    }
}

/// The variant of a registry's enum whose name was read already.
struct Named<V> {
    name: String,
    settings: V,
}

impl<'de, V: de::VariantAccess<'de>> EnumAccess<'de> for Named<V> {
    type Error = V::Error;
    type Variant = V;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, V), V::Error> {
        let name: StringDeserializer<V::Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self.settings))
    }
}

impl<'de, V: de::VariantAccess<'de>> Deserializer<'de> for Named<V> {
    type Error = V::Error;

    fn deserialize_any<W: Visitor<'de>>(self, visitor: W) -> Result<W::Value, V::Error> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        <W: Visitor<'de>> bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct Holder {
        env: EnvConfig,
    }

    #[test]
    fn both_registries_are_one_table_of_the_file() {
        for name in EnvConfig::names() {
            let read: Holder = toml::from_str(&format!("[env.{name}]")).unwrap();
            assert_eq!((read.env.name(), Some(&read.env)), (name, EnvConfig::default_of(name).as_ref()));
            let again: Holder = toml::from_str(&toml::to_string(&read).unwrap()).unwrap();
            assert_eq!(again, read);
            let json: Holder = serde_json::from_value(serde_json::to_value(&read).unwrap()).unwrap();
            assert_eq!(json, read);
        }
        let read: Holder =
            toml::from_str("[env.gymnasium]\nid = \"Ant-v5\"\nkwargs = { use_contact_forces = true }")
                .unwrap();
        let EnvConfig::Linked(LinkedEnvConfig::Gymnasium(config)) = read.env else { panic!("{read:?}") };
        assert_eq!(config.kwargs["use_contact_forces"], true);
    }

    #[test]
    fn errors_keep_their_place_in_the_file() {
        let said = |text: &str| toml::from_str::<Holder>(text).unwrap_err().to_string();
        let unknown = said("[env.pusch]\n");
        assert!(unknown.contains("line 1, column 6") && unknown.contains("`push`"), "{unknown}");
        assert!(unknown.contains("`gymnasium`"), "{unknown}");
        for (text, key) in
            [("[env.push]\nmax_stebs = 3", "max_stebs"), ("[env.gymnasium]\nproceses = 3", "proceses")]
        {
            let wrong = said(text);
            assert!(wrong.contains("line 2, column 1") && wrong.contains(key), "{wrong}");
        }
        let number = said("env = 3");
        assert!(number.contains("line 1, column 7") && number.contains("wanted string or table"), "{number}");
    }
}
