//! The native layout as HDF5: in one piece in memory, or appended to a file episode by episode.

use std::borrow::Cow;
use std::path::Path;

use hdf5_pure::{
    AttrValue, DatasetBuilder, Datatype, EnumTypeBuilder, File, FileBuilder, FormatError, GroupBuilder,
    make_i8_type,
};
use serde_json::json;
use surefoot_core::{Episode, StepEnd};

use crate::formats::robomimic;
use crate::writer::Recording;

/// Why episodes cannot be encoded.
pub(crate) type EncodeError = Box<dyn std::error::Error>;

pub(crate) fn int(value: u64) -> AttrValue {
    i64::try_from(value).map_or(AttrValue::U64(value), AttrValue::I64)
}

pub(crate) fn text(value: &str) -> AttrValue {
    AttrValue::VarLenString(value.to_owned())
}

/// What an episode says of itself, as attributes of its group, which is called `group`.
pub(crate) fn attributes_of(e: &Episode, group: &str) -> Vec<(String, AttrValue)> {
    let Episode { name, success, source, safety, seed, attributes, .. } = e;
    let mut all = Vec::new();
    let mut set = |key: &str, value: AttrValue| all.push((key.to_owned(), value));
    if name != group {
        set("episode_name", text(name));
    }
    if let Some(success) = success {
        set("success", int(u64::from(*success)));
    }
    if let Some(source) = source {
        set("source", text(source));
    }
    if let Some(seed) = seed {
        set("seed", int(*seed));
    }
    for (key, count) in [
        ("safety_ticks", safety.ticks),
        ("safety_adjusted", safety.adjusted),
        ("safety_stops", safety.stops),
        ("safety_violations", safety.violations),
    ] {
        set(key, int(count));
    }
    for (key, value) in attributes {
        set(key, text(value));
    }
    all
}

/// Booleans as h5py writes them.
pub(crate) fn flag_type() -> Result<Datatype, FormatError> {
    EnumTypeBuilder::with_base(make_i8_type()).value("FALSE", 0).value("TRUE", 1).build()
}

/// Elements of an array.
enum Elements<'a> {
    Numbers(Cow<'a, [f32]>),
    Integers(Vec<i64>),
    Flags(Vec<u8>),
}

struct Array<'a> {
    name: String,
    elements: Elements<'a>,
    shape: Vec<u64>,
}

impl Array<'_> {
    fn fill(&self, dataset: &mut DatasetBuilder, flag: &Datatype) {
        match &self.elements {
            Elements::Numbers(x) => dataset.with_f32_data(x),
            Elements::Integers(x) => dataset.with_i64_data(x),
            Elements::Flags(x) => dataset.with_enum_u8_data(flag.clone(), x),
        };
        dataset.with_shape(&self.shape);
    }
}

/// An episode's group, not yet in any file.
struct Demo<'a> {
    name: String,
    attributes: Vec<(String, AttrValue)>,
    arrays: Vec<Array<'a>>,
    /// `obs` and `next_obs`.
    groups: Vec<(&'static str, Vec<Array<'a>>)>,
}

/// Rows as one array for each key.
fn by_key<'a>(rows: &'a [f32], keys: &[(String, usize)], n: u64) -> Vec<Array<'a>> {
    let dim: usize = keys.iter().map(|(_, w)| w).sum();
    let mut at = 0;
    keys.iter()
        .map(|(name, width)| {
            let part =
                || rows.chunks_exact(dim.max(1)).flat_map(|row| &row[at..at + width]).copied().collect();
            let elements = if *width == dim { Cow::Borrowed(rows) } else { Cow::Owned(part()) };
            at += width;
            let shape = vec![n, *width as u64];
            Array { name: name.clone(), elements: Elements::Numbers(elements), shape }
        })
        .collect()
}

impl<'a> Demo<'a> {
    fn new(recording: &Recording, e: &'a Episode, index: usize, id: u64) -> Self {
        let Episode { observation, next_observation, action, proposed, reward, end, human, .. } = e;
        let n = e.len() as u64;
        let a = recording.spec.action_dim() as u64;
        let name = format!("demo_{index}");
        let mut attributes = vec![("num_samples".to_owned(), int(n)), ("episode_id".to_owned(), int(id))];
        attributes.extend(attributes_of(e, &name));
        let mut arrays = Vec::new();
        let mut array = |name: &str, elements: Elements<'a>, shape: &[u64]| {
            arrays.push(Array { name: name.to_owned(), elements, shape: shape.to_vec() });
        };
        let numbers = |x: &'a [f32]| Elements::Numbers(Cow::Borrowed(x));
        let flags = |is: fn(&StepEnd) -> bool| Elements::Flags(end.iter().map(|e| u8::from(is(e))).collect());
        array("actions", numbers(action), &[n, a]);
        if !proposed.is_empty() {
            array("actions_proposed", numbers(proposed), &[n, a]);
        }
        array("rewards", numbers(reward), &[n]);
        let dones = end.iter().map(|e| i64::from(e.is_last())).collect();
        array("dones", Elements::Integers(dones), &[n]);
        array("terminations", flags(|e| *e == StepEnd::Terminated), &[n]);
        array("truncations", flags(|e| *e == StepEnd::Truncated), &[n]);
        if !human.is_empty() {
            array("interventions", Elements::Flags(human.iter().map(|h| u8::from(*h)).collect()), &[n]);
        }
        let keys = recording.keys();
        let groups =
            vec![("obs", by_key(observation, &keys, n)), ("next_obs", by_key(next_observation, &keys, n))];
        Self { name, attributes, arrays, groups }
    }

    fn build(self, demo: &mut GroupBuilder, flag: &Datatype) {
        for (key, value) in &self.attributes {
            demo.set_attr(key, value.clone());
        }
        self.fill(demo, flag);
    }

    /// Everything but the attributes.
    fn fill(&self, demo: &mut GroupBuilder, flag: &Datatype) {
        for array in &self.arrays {
            array.fill(demo.create_dataset(&array.name), flag);
        }
        for (name, arrays) in &self.groups {
            let mut group = demo.create_group(name);
            for array in arrays {
                array.fill(group.create_dataset(&array.name), flag);
            }
            demo.add_group(group.finish());
        }
    }

    /// Names in its group.
    fn children(&self) -> impl Iterator<Item = &str> {
        self.arrays.iter().map(|a| a.name.as_str()).chain(self.groups.iter().map(|(name, _)| *name))
    }
}

/// A mask as names of fixed length.
fn mask_names(members: &[usize]) -> Vec<String> {
    members.iter().map(|i| format!("demo_{i}")).collect()
}

/// A file of these episodes; the first one's id is `first_id`.
pub(crate) fn encode(
    recording: &Recording,
    episodes: &[Episode],
    first_id: u64,
) -> Result<Vec<u8>, EncodeError> {
    let Recording { spec, env_kwargs, producer, masks, stated, import_hash, observation_keys: _ } = recording;
    let mut file = FileBuilder::new();
    file.set_attr("schema", text(robomimic::SCHEMA));
    file.set_attr("producer", text(producer));
    let mut data = file.create_group("data");
    let steps: usize = episodes.iter().map(Episode::len).sum();
    data.set_attr("total", int(steps as u64));
    // Type 2 is a Gymnasium environment in robomimic's numbering.
    let env_args = json!({ "env_name": spec.name, "env_version": "", "type": 2, "env_kwargs": env_kwargs });
    data.set_attr("env_args", text(&env_args.to_string()));
    if *stated {
        data.set_attr("env_spec", text(&serde_json::to_string(spec)?));
        for (row, fields) in [("action", &spec.action), ("observation", &spec.observation)] {
            let names = fields.iter().map(|f| f.name.clone()).collect();
            let units = fields.iter().map(|f| f.unit.clone()).collect();
            data.set_attr(&format!("{row}_names"), AttrValue::VarLenStringArray(names));
            data.set_attr(&format!("{row}_units"), AttrValue::VarLenStringArray(units));
        }
    }
    if let [_, _, ..] = recording.keys().as_slice() {
        let keys = recording.keys().into_iter().map(|(key, _)| key).collect();
        data.set_attr("observation_keys", AttrValue::VarLenStringArray(keys));
    }
    if let Some(hash) = &spec.contract_hash {
        data.set_attr("robot_contract_hash", text(hash));
    }
    if let Some(hash) = import_hash {
        data.set_attr("import_hash", text(hash));
    }
    let flag = flag_type()?;
    for (i, e) in episodes.iter().enumerate() {
        let demo = Demo::new(recording, e, i, first_id.saturating_add(i as u64));
        let mut group = data.create_group(&demo.name);
        demo.build(&mut group, &flag);
        data.add_group(group.finish());
    }
    file.add_group(data.finish());
    let mut group = file.create_group("mask");
    let mut any = false;
    for (mask, members) in masks.iter().filter(|(_, members)| !members.is_empty()) {
        let names = mask_names(members);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        group.create_dataset(mask).with_ascii_strings(&names).map_err(|e: FormatError| e.to_string())?;
        any = true;
    }
    if any {
        file.add_group(group.finish());
    }
    Ok(file.finish()?)
}

/// Appends episodes to a file that [`encode`] made, holding only those that are not on the disk yet.
///
/// The library looks through all links of `data` for every object that is made in the file, which is quadratic in the number of episodes, but
/// not for one that is copied from another file. So a demo's group is made in the file (its texts cannot be copied) and everything in it is
/// copied from a file in memory.
pub(crate) struct Appender<'a> {
    file: File,
    recording: &'a Recording,
    flag: Datatype,
    episodes: usize,
    steps: u64,
    /// Demos that are not in the file yet, and the paths in them.
    image: FileBuilder,
    copies: Vec<String>,
}

impl<'a> Appender<'a> {
    /// Opens the file at `path`, which holds `episodes` episodes of `steps` steps.
    pub(crate) fn open(
        path: &Path,
        recording: &'a Recording,
        episodes: usize,
        steps: u64,
    ) -> Result<Self, EncodeError> {
        let (image, copies) = (FileBuilder::new(), Vec::new());
        Ok(Self { file: File::open_rw(path)?, recording, flag: flag_type()?, episodes, steps, image, copies })
    }

    pub(crate) fn append(&mut self, e: &Episode) -> Result<(), EncodeError> {
        let demo = Demo::new(self.recording, e, self.episodes, self.episodes as u64);
        let path = format!("data/{}", demo.name);
        let mut group = self.image.create_group(&demo.name);
        demo.fill(&mut group, &self.flag);
        self.image.add_group(group.finish());
        self.copies.extend(demo.children().map(|child| format!("{}/{child}", demo.name)));
        self.file.root().create_group_with(&path, |group| {
            for (key, value) in demo.attributes {
                group.set_attr(&key, value);
            }
        })?;
        self.episodes += 1;
        self.steps += e.len() as u64;
        Ok(())
    }

    /// Writes what was appended since the last time.
    pub(crate) fn commit(&mut self) -> Result<(), EncodeError> {
        self.copy()?;
        Ok(self.file.commit()?)
    }

    /// Has the file take what is still in memory with its next commit.
    fn copy(&mut self) -> Result<(), EncodeError> {
        let image = File::from_bytes(std::mem::take(&mut self.image).finish()?)?;
        for path in self.copies.drain(..) {
            self.file.copy_from(&image, &path, &format!("data/{path}"))?;
        }
        Ok(())
    }

    /// Writes the rest: the total, and the masks.
    pub(crate) fn finish(mut self) -> Result<(), EncodeError> {
        self.copy()?;
        self.file.root().group("data")?.set_attr("total", int(self.steps))?;
        let masks: Vec<_> = self.recording.masks.iter().filter(|(_, members)| !members.is_empty()).collect();
        if !masks.is_empty() {
            let mut refused = None;
            self.file.root().create_group_with("mask", |group| {
                for (mask, members) in &masks {
                    let names = mask_names(members);
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    group.create_dataset(mask, |dataset| {
                        refused = dataset.with_ascii_strings(&names).err().or(refused.take());
                    });
                }
            })?;
            if let Some(error) = refused {
                return Err(error.to_string().into());
            }
        }
        Ok(self.file.commit()?)
    }
}
