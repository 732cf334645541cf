//! `key=value` on the command line.

use anyhow::anyhow;
use toml::{Table, Value};

use crate::failure::{Failure, usage};

/// The file's table with the overrides put in. A value is TOML where it parses as TOML, a string otherwise.
pub fn apply(text: &str, overrides: &[String]) -> Result<Table, Failure> {
    let mut table: Table = text.parse().map_err(|e: toml::de::Error| usage(e))?;
    for given in overrides {
        let Some((key, value)) = given.split_once('=') else {
            return Err(usage(anyhow!(
                "override {given:?} has no '='\n\nhint: write key=value, as in learner.awac.temperature=0.5"
            )));
        };
        same_choice(&table, key.trim()).map_err(usage)?;
        set(&mut table, key.trim(), value_of(value.trim())).map_err(usage)?;
    }
    Ok(table)
}

/// `[env.NAME]`, `[learner.NAME]` and `[family.NAME]` choose one of several: an override sets keys of the chosen one.
fn same_choice(table: &Table, key: &str) -> anyhow::Result<()> {
    let mut parts = key.split('.');
    let (Some(section @ ("env" | "learner" | "family")), Some(wanted)) = (parts.next(), parts.next()) else {
        return Ok(());
    };
    let chosen = table.get(section).and_then(Value::as_table).and_then(|t| t.keys().next());
    match chosen {
        Some(chosen) if chosen != wanted => Err(anyhow!(
            "override {key}: the file chooses [{section}.{chosen}], and a run has one {section}\n\nhint: `{section}={{{wanted}={{}}}}` chooses another"
        )),
        _ => Ok(()),
    }
}

fn value_of(text: &str) -> Value {
    format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Sets `a.b.0.c`; tables are made where missing, arrays are indexed by number.
fn set(table: &mut Table, key: &str, value: Value) -> anyhow::Result<()> {
    let mut parts = key.split('.').peekable();
    let mut at = parts.next().filter(|p| !p.is_empty()).ok_or_else(|| anyhow!("override: empty key"))?;
    let mut here = table;
    loop {
        let Some(next) = parts.next() else {
            here.insert(at.to_owned(), value);
            return Ok(());
        };
        let child = here.entry(at.to_owned()).or_insert_with(|| Value::Table(Table::new()));
        let (child, next) = match child {
            Value::Array(items) => {
                let count = items.len();
                let item = next.parse::<usize>().ok().and_then(|i| items.get_mut(i));
                let item = item.ok_or_else(|| {
                    anyhow!(
                        "override {key}: {at} is a list of {count}; name an entry by number, as in {at}.0"
                    )
                })?;
                let after =
                    parts.next().ok_or_else(|| anyhow!("override {key}: name a key inside {at}.{next}"))?;
                (item, after)
            }
            other => (other, next),
        };
        here = child.as_table_mut().ok_or_else(|| anyhow!("override {key}: {at} is a value, not a table"))?;
        at = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(overrides: &[&str]) -> Table {
        let text = "seed = 0\n[learner.awac]\ntemperature = 1.0\n[[phase]]\noffline = { updates = 10 }\n";
        let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
        apply(text, &overrides).unwrap()
    }

    #[test]
    fn values_are_toml_or_text_and_paths_go_through_tables_and_lists() {
        let t = applied(&[
            "seed=3",
            "learner.awac.temperature=0.5",
            "name=reach-2",
            "phase.0.offline.updates=20",
        ]);
        assert_eq!(t["seed"].as_integer(), Some(3));
        assert_eq!(t["learner"]["awac"]["temperature"].as_float(), Some(0.5));
        assert_eq!(t["name"].as_str(), Some("reach-2"));
        assert_eq!(t["phase"][0]["offline"]["updates"].as_integer(), Some(20));
    }

    #[test]
    fn a_key_of_what_the_file_does_not_choose_is_refused_and_the_choice_can_be_changed() {
        let text = "[env.push]\nmax_steps = 60\n";
        let given = |s: &str| apply(text, &[s.to_owned()]);
        let refused = format!("{:?}", given("env.reach.max_steps=5").unwrap_err());
        assert!(refused.contains("chooses [env.push]") && refused.contains("env={reach={}}"), "{refused}");
        assert_eq!(given("env.push.max_steps=5").unwrap()["env"]["push"]["max_steps"].as_integer(), Some(5));
        assert!(given("env={reach={}}").unwrap()["env"]["reach"].is_table());
    }

    #[test]
    fn a_list_must_be_indexed_and_a_value_cannot_be_entered() {
        for bad in ["phase.offline.updates=1", "phase.7.offline.updates=1", "seed.x=1", "seed", "=1"] {
            assert!(apply("seed = 0\n[[phase]]\noffline = {}\n", &[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
