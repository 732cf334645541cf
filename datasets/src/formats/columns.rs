//! Arrays of an HDF5 file as columns of rows: what its formats do alike.

use std::collections::BTreeMap;

use surefoot_core::DataError;

use crate::h5::{Array, ArrayInfo, Attribute, Attributes, ChildKind, Container, Element, Hdf5Error, NUMBERS};

/// Wider rows are images, or the claim of a damaged header.
pub(super) const MAX_ROW_WIDTH: usize = 1 << 16;

/// Longer attributes, such as robot models in XML, are not carried along with an episode.
const MAX_ATTRIBUTE_BYTES: usize = 4096;

/// Groups in groups are followed this deep, and so many of them: groups can contain themselves.
const MAX_DEPTH: usize = 6;
const MAX_GROUPS: usize = 500;

/// How a JPEG starts.
const JPEG: [f32; 3] = [255.0, 216.0, 255.0];

/// Reads arrays of a file for a format, which its errors name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns<'a> {
    pub(super) container: &'a Container,
    pub(super) format: &'static str,
}

/// Low-dimensional arrays under a group, and those that are not.
#[derive(Debug, Default)]
pub(super) struct LowDim {
    /// Their paths under the group, with their widths, in the order of the names.
    pub(super) keys: Vec<(String, usize)>,
    /// Images, text and what else is no row of numbers, described.
    pub(super) skipped: Vec<String>,
}

impl Columns<'_> {
    fn fail(&self, error: Hdf5Error) -> DataError {
        self.container.error(self.format, error)
    }

    pub(super) fn children(&self, group: &str) -> Result<BTreeMap<String, ChildKind>, DataError> {
        self.container.file().children(group).map_err(|e| self.fail(e))
    }

    pub(super) fn attributes(&self, group: &str) -> Result<Attributes, DataError> {
        self.container.file().attributes(group, ChildKind::Group).map_err(|e| self.fail(e))
    }

    pub(super) fn info(&self, item: &str) -> Result<ArrayInfo, DataError> {
        self.container.file().info(item).map_err(|e| self.fail(e))
    }

    pub(super) fn read_one(&self, item: &str) -> Result<Array<f32>, DataError> {
        self.container.file().read_f32(item).map_err(|e| self.fail(e))
    }

    /// Numbers in a row of one array.
    pub(super) fn width(&self, item: &str) -> Result<usize, DataError> {
        let info = self.info(item)?;
        if info.element.is_numeric() {
            return Ok(info.width());
        }
        let (item, found) = (item.to_owned(), info.element);
        Err(self.fail(Hdf5Error::WrongType { item, expected: NUMBERS, found }))
    }

    /// Reads arrays under `group` side by side into `[rows, sum of widths]`; every one must have `rows` rows.
    pub(super) fn read(
        &self,
        group: &str,
        keys: &[(String, usize)],
        rows: usize,
    ) -> Result<Vec<f32>, DataError> {
        let mut columns = Vec::with_capacity(keys.len());
        for (key, width) in keys {
            let item = if group.is_empty() { key.clone() } else { format!("{group}/{key}") };
            let array = self.read_one(&item)?;
            let (found_rows, found_width) = (array.info.rows(), array.info.width());
            if (found_rows, found_width) != (rows, *width) {
                let expected = format!("{rows} rows of {width}");
                let found = format!("{found_rows} rows of {found_width}");
                return Err(shape(self.container, &item, &expected, &found));
            }
            columns.push((array.data, found_width));
        }
        if let [(_, _)] = columns.as_slice() {
            return Ok(columns.swap_remove(0).0);
        }
        let width: usize = columns.iter().map(|(_, w)| w).sum();
        let mut out = Vec::with_capacity(rows * width);
        for row in 0..rows {
            for (data, w) in &columns {
                out.extend_from_slice(&data[row * w..(row + 1) * w]);
            }
        }
        Ok(out)
    }

    /// One number a row.
    pub(super) fn vector(&self, item: &str, rows: usize) -> Result<Vec<f32>, DataError> {
        self.read("", &[(item.to_owned(), 1)], rows)
    }

    /// What an array is if it is no row of numbers, for people; `None` when it is one.
    pub(super) fn no_row(&self, name: &str, item: &str) -> Result<Option<String>, DataError> {
        let info = self.info(item)?;
        let image = info.shape.len() > 2 && (info.element == Element::U8 || info.shape.len() > 3);
        let image = image || info.width() > MAX_ROW_WIDTH;
        let extents: Vec<String> = info.shape.iter().map(ToString::to_string).collect();
        let what = format!("{name} ({} [{}])", info.element.name(), extents.join(", "));
        if image || !info.element.is_numeric() || info.width() == 0 || info.shape.is_empty() {
            return Ok(Some(what));
        }
        let encoded = info.element == Element::U8
            && info.shape.len() == 2
            && self.read_one(item)?.data.starts_with(&JPEG);
        Ok(encoded.then(|| format!("{what} of JPEG images")))
    }

    /// Looks for low-dimensional arrays under a group and the groups in it.
    pub(super) fn low_dim(&self, group: &str) -> Result<LowDim, DataError> {
        let mut found = LowDim::default();
        let mut groups = vec![(String::new(), 0)];
        let mut seen = 1;
        while let Some((path, depth)) = groups.pop() {
            let at = if path.is_empty() { group.to_owned() } else { format!("{group}/{path}") };
            for (name, kind) in self.children(&at)? {
                let key = if path.is_empty() { name } else { format!("{path}/{name}") };
                let item = format!("{group}/{key}");
                match kind {
                    ChildKind::Group if depth < MAX_DEPTH && seen < MAX_GROUPS => {
                        groups.push((key, depth + 1));
                        seen += 1;
                    }
                    ChildKind::Group => found.skipped.push(format!("{key} (a group)")),
                    ChildKind::Dataset => match self.no_row(&key, &item)? {
                        Some(what) => found.skipped.push(what),
                        None => found.keys.push((key, self.width(&item)?)),
                    },
                }
            }
        }
        found.keys.sort();
        found.skipped.sort();
        Ok(found)
    }

    /// The keys that were asked for, with their widths.
    pub(super) fn chosen(
        &self,
        group: &str,
        names: &[String],
        known: &LowDim,
    ) -> Result<Vec<(String, usize)>, DataError> {
        let mut keys = Vec::with_capacity(names.len());
        for name in names {
            let Some(key) = known.keys.iter().find(|(key, _)| key == name) else {
                let item = format!("{group}/{name}");
                let only: Vec<&str> = known.keys.iter().map(|(key, _)| key.as_str()).collect();
                return Err(match known.skipped.iter().find(|what| what.starts_with(&format!("{name} "))) {
                    Some(what) => shape(self.container, &item, "a row of numbers per step", what),
                    None => shape(self.container, &item, "present", &format!("only {}", only.join(", "))),
                });
            };
            keys.push(key.clone());
        }
        Ok(keys)
    }
}

/// Numbers in a row that learning can use, of arrays side by side. Arrays without columns may claim any number of rows.
pub(super) fn row_dim(
    container: &Container,
    item: &str,
    widths: impl Iterator<Item = usize>,
) -> Result<usize, DataError> {
    let dim = widths.fold(0, usize::saturating_add);
    if (1..=MAX_ROW_WIDTH).contains(&dim) {
        return Ok(dim);
    }
    let expected = format!("rows of 1 to {MAX_ROW_WIDTH} numbers");
    Err(shape(container, item, &expected, &format!("rows of {dim}")))
}

pub(super) fn shape(container: &Container, item: &str, expected: &str, found: &str) -> DataError {
    DataError::Shape {
        path: container.path().to_owned(),
        item: item.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}

/// Begins the note on observation keys that are no rows of numbers.
pub(super) fn left_out(skipped: &[String]) -> String {
    format!("observation keys left out (images, text, empty): {}", skipped.join(", "))
}

/// Attributes without a place of their own in an episode, as text.
pub(super) fn further(attributes: &Attributes, own_place: &[&str]) -> BTreeMap<String, String> {
    attributes
        .iter()
        .filter(|(name, _)| !own_place.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.to_text()))
        .filter(|(_, text)| text.len() <= MAX_ATTRIBUTE_BYTES)
        .collect()
}

/// What the groups of a file hold in memory once they are listed. One group may stand under many names, and a small file must not become a
/// large one by that.
#[derive(Debug, Default)]
pub(super) struct Held(u64);

impl Held {
    /// Counts a group's members and attributes.
    ///
    /// # Errors
    /// When all so far are several times as large as the file that they are in.
    pub(super) fn add<'n>(
        &mut self,
        group: &str,
        members: impl Iterator<Item = &'n str>,
        attributes: &Attributes,
        container: &Container,
    ) -> Result<(), Hdf5Error> {
        let size = |value: &Attribute| match value {
            Attribute::Int(_) | Attribute::Float(_) => 1,
            Attribute::Text(text) => text.len(),
            Attribute::Ints(v) => v.len(),
            Attribute::Floats(v) => v.len(),
            Attribute::Texts(v) => v.iter().map(String::len).sum(),
        };
        let named: usize = members.map(|name| name.len() + 8).sum();
        let valued: usize = attributes.iter().map(|(name, value)| name.len() + size(value)).sum();
        self.0 += (named + valued) as u64;
        let limit = container.bytes().saturating_mul(4).saturating_add(1 << 20);
        if self.0 <= limit {
            return Ok(());
        }
        let reason = format!(
            "up to here groups hold {} bytes, in a file of {}: one group stands under many names",
            self.0,
            container.bytes()
        );
        Err(Hdf5Error::Damaged { item: group.to_owned(), reason })
    }
}
