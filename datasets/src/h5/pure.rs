//! The pure-Rust backend.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use hdf5_pure::{
    AttrValue, DType, Dataset, Datatype, DatatypeByteOrder, Error, File, FormatError, Group,
    VlenStringReadOptions,
};
use surefoot_core::DataError;

use super::{
    Array, ArrayInfo, Attribute, Attributes, ChildKind, Element, Hdf5Error, Hdf5File, NUMBERS, check_size,
    error_at, no_such_rows,
};
use crate::caught::caught;

/// Files up to this length are held in memory; of longer ones the parts that are asked for are read. Both decode side by side.
const IN_MEMORY_BYTES: u64 = 64 << 20;

/// Text arrays hold names; more than this is not a name list.
const MAX_TEXT_BYTES: usize = 64 << 20;

struct PureFile {
    file: File,
    bytes: u64,
    /// Groups by path. Finding a member reads the whole list of members, and `data` may have thousands.
    groups: RwLock<BTreeMap<String, Group>>,
}

pub(super) fn open(path: &Path) -> Result<(Box<dyn Hdf5File>, String, u64), DataError> {
    open_within(path, IN_MEMORY_BYTES)
}

fn open_within(path: &Path, in_memory_bytes: u64) -> Result<(Box<dyn Hdf5File>, String, u64), DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let mut handle = std::fs::File::open(path).map_err(io)?;
    let bytes = handle.metadata().map_err(io)?.len();
    let root = || "/".to_owned();
    let (file, hash) = if bytes <= in_memory_bytes {
        let mut data = Vec::new();
        data.try_reserve_exact(bytes as usize).map_err(|e| io(e.into()))?;
        handle.take(bytes).read_to_end(&mut data).map_err(io)?;
        let hash = blake3::hash(&data);
        (guard(root, || File::from_bytes(data)), hash)
    } else {
        let mut hasher = blake3::Hasher::new();
        std::io::copy(&mut handle, &mut hasher).map_err(io)?;
        (guard(root, || File::open_streaming(path)), hasher.finalize())
    };
    let file = file.map_err(|e| match e {
        // A file that is not HDF5 at all deserves plain words.
        Hdf5Error::Damaged { reason, .. } if reason.contains("signature") => DataError::Malformed {
            path: path.to_owned(),
            format: "hdf5",
            reason: format!("it does not start as an HDF5 file does ({reason})"),
            hint: "HDF5 files start with the bytes 89 48 44 46; is this the right file, and was it copied whole?",
        },
        e => error_at(path, "hdf5", e),
    })?;
    let promised = file.superblock().eof_address;
    if promised > bytes {
        let reason = format!("it was cut off: {bytes} of {promised} bytes are there");
        return Err(error_at(path, "hdf5", Hdf5Error::Damaged { item: root(), reason }));
    }
    Ok((Box::new(PureFile { file, bytes, groups: RwLock::default() }), hash.to_hex().to_string(), bytes))
}

/// Runs a call into the backend. A panic on hostile bytes becomes an error like any other.
fn guard<T>(item: impl Fn() -> String, call: impl FnOnce() -> Result<T, Error>) -> Result<T, Hdf5Error> {
    match caught(call) {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(translate(item(), &error)),
        None => Err(Hdf5Error::Damaged { item: item(), reason: "the decoder gave up on these bytes".into() }),
    }
}

fn translate(item: String, error: &Error) -> Hdf5Error {
    match error {
        Error::Format(FormatError::PathNotFound(_)) => Hdf5Error::Missing { item },
        Error::NotADataset(_) => {
            Hdf5Error::Damaged { item, reason: "expected an array, found a group".into() }
        }
        Error::NotAGroup(_) => Hdf5Error::Damaged { item, reason: "expected a group, found an array".into() },
        Error::Format(
            e @ (FormatError::UnsupportedFilter(_)
            | FormatError::UnsupportedVirtualLayout
            | FormatError::UnsupportedExternalStorage
            | FormatError::UnsupportedMessage(_)
            | FormatError::UnsupportedVersion(_)
            | FormatError::TypeMismatch { .. }
            | FormatError::InvalidLayoutVersion(5..)
            | FormatError::InvalidFilterPipelineVersion(3..)
            | FormatError::UnsupportedFilteredHeapObject
            | FormatError::UnsupportedZfp(_)),
        ) => Hdf5Error::Unsupported { item, what: e.to_string() },
        e => Hdf5Error::Damaged { item, reason: e.to_string() },
    }
}

fn element(dtype: &DType) -> Element {
    match dtype {
        DType::F32 => Element::F32,
        DType::F64 => Element::F64,
        DType::I8 => Element::I8,
        DType::I16 => Element::I16,
        DType::I32 => Element::I32,
        DType::I64 => Element::I64,
        DType::U8 => Element::U8,
        DType::U16 => Element::U16,
        DType::U32 => Element::U32,
        DType::U64 => Element::U64,
        DType::Enum(_) => Element::Bool,
        DType::String | DType::VariableLengthString => Element::Text,
        DType::Other(t) if matches!(**t, Datatype::FloatingPoint { size: 2, .. }) => Element::F16,
        _ => Element::Other,
    }
}

fn attribute(value: &AttrValue) -> Option<Attribute> {
    let one = |f: f64| Attribute::Float(f);
    Some(match value {
        AttrValue::F32(f) => one(f64::from(*f)),
        AttrValue::F64(f) => one(*f),
        AttrValue::F32Array(_) | AttrValue::F64Array(_) => Attribute::Floats(value.to_f64s()?),
        AttrValue::I8(_) | AttrValue::I16(_) | AttrValue::I32(_) | AttrValue::I64(_) => {
            Attribute::Int(value.as_i64()?.into())
        }
        AttrValue::U8(_) | AttrValue::U16(_) | AttrValue::U32(_) | AttrValue::U64(_) => {
            Attribute::Int(value.as_u64()?.into())
        }
        _ => {
            if let Some(text) = value.as_str() {
                Attribute::Text(text.to_owned())
            } else if let Some(texts) = value.as_strings() {
                Attribute::Texts(texts.to_vec())
            } else if let Some(v) = value.to_i64s() {
                Attribute::Ints(v.into_iter().map(i128::from).collect())
            } else {
                Attribute::Ints(value.to_u64s()?.into_iter().map(i128::from).collect())
            }
        }
    })
}

/// An IEEE 754 half as `f32`, exactly.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2.0_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2.0_f32.powi(exponent - 25),
    }
}

impl PureFile {
    fn group(&self, path: &str) -> Result<Group, Hdf5Error> {
        if path.is_empty() {
            return guard(|| "/".to_owned(), || Ok(self.file.root()));
        }
        if let Some(group) = self.groups.read().unwrap_or_else(PoisonError::into_inner).get(path) {
            return Ok(group.clone());
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.group(parent)?;
        let group = guard(|| path.to_owned(), || parent.group(name))?;
        self.remember(path.to_owned(), &group);
        Ok(group)
    }

    fn remember(&self, path: String, group: &Group) {
        self.groups.write().unwrap_or_else(PoisonError::into_inner).insert(path, group.clone());
    }

    fn dataset(&self, path: &str) -> Result<(Dataset, ArrayInfo), Hdf5Error> {
        let item = || path.to_owned();
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.group(parent)?;
        let dataset = guard(item, || parent.dataset(name))?;
        let shape = guard(item, || dataset.shape())?;
        let dtype = guard(item, || dataset.dtype())?;
        let mut extents = Vec::with_capacity(shape.len());
        for extent in &shape {
            let too_large =
                |_| Hdf5Error::TooLarge { item: item(), claimed: (*extent).into(), file: self.bytes };
            extents.push(usize::try_from(*extent).map_err(too_large)?);
        }
        let count = shape.iter().fold(1_u128, |n, d| n.saturating_mul((*d).into()));
        let element_bytes = guard(item, || dataset.element_size())?;
        check_size(path, count, element_bytes, self.bytes)?;
        Ok((dataset, ArrayInfo { shape: extents, element: element(&dtype) }))
    }

    fn read<T>(
        &self,
        path: &str,
        accept: impl Fn(Element) -> bool,
        expected: &'static str,
        read: impl FnOnce(&Dataset) -> Result<Vec<T>, Error>,
    ) -> Result<Array<T>, Hdf5Error> {
        let item = || path.to_owned();
        let (dataset, info) = self.dataset(path)?;
        if !accept(info.element) {
            return Err(Hdf5Error::WrongType { item: item(), expected, found: info.element });
        }
        let count = info.shape.iter().fold(1_u128, |n, d| n.saturating_mul(*d as u128));
        let data = if count == 0 { Vec::new() } else { guard(item, || read(&dataset))? };
        if data.len() as u128 != count {
            let reason = format!("its header promises {count} elements, {} are there", data.len());
            return Err(Hdf5Error::Damaged { item: item(), reason });
        }
        Ok(Array { info, data })
    }
}

impl Hdf5File for PureFile {
    fn children(&self, path: &str) -> Result<BTreeMap<String, ChildKind>, Hdf5Error> {
        let group = self.group(path)?;
        let item = || if path.is_empty() { "/".to_owned() } else { path.to_owned() };
        let mut groups = Vec::new();
        for (name, child) in guard(item, || group.iter_groups())? {
            self.remember(if path.is_empty() { name.clone() } else { format!("{path}/{name}") }, &child);
            groups.push(name);
        }
        let datasets = guard(item, || group.datasets())?;
        Ok(groups
            .into_iter()
            .map(|name| (name, ChildKind::Group))
            .chain(datasets.into_iter().map(|name| (name, ChildKind::Dataset)))
            .collect())
    }

    fn attributes(&self, path: &str, kind: ChildKind) -> Result<Attributes, Hdf5Error> {
        let item = || path.to_owned();
        let attributes = match kind {
            ChildKind::Group => {
                let group = self.group(path)?;
                guard(item, || group.attrs())?
            }
            ChildKind::Dataset => {
                let (dataset, _) = self.dataset(path)?;
                guard(item, || dataset.attrs())?
            }
        };
        Ok(attributes.into_iter().filter_map(|(name, value)| Some((name, attribute(&value)?))).collect())
    }

    fn info(&self, path: &str) -> Result<ArrayInfo, Hdf5Error> {
        Ok(self.dataset(path)?.1)
    }

    fn read_f32(&self, path: &str) -> Result<Array<f32>, Hdf5Error> {
        self.read(path, Element::is_numeric, NUMBERS, |dataset| match dataset.datatype()? {
            Datatype::FloatingPoint { size: 2, byte_order, .. } => {
                let pairs = dataset.read_raw()?;
                let bits = pairs.chunks_exact(2).map(|b| match byte_order {
                    DatatypeByteOrder::BigEndian => u16::from_be_bytes([b[0], b[1]]),
                    _ => u16::from_le_bytes([b[0], b[1]]),
                });
                Ok(bits.map(half).collect())
            }
            _ => dataset.read_f32(),
        })
    }

    fn read_f32_rows(&self, path: &str, rows: Range<usize>) -> Result<Vec<f32>, Hdf5Error> {
        let (dataset, info) = self.dataset(path)?;
        if info.element == Element::F16 || !info.element.is_numeric() || info.shape.is_empty() {
            let whole = self.read_f32(path)?;
            let width = whole.info.width();
            let part = whole.data.get(rows.start * width..rows.end * width);
            return part.map(<[f32]>::to_vec).ok_or_else(|| no_such_rows(path, &rows, &whole.info));
        }
        if rows.end > info.rows() || rows.start > rows.end {
            return Err(no_such_rows(path, &rows, &info));
        }
        if rows.is_empty() || info.width() == 0 {
            return Ok(Vec::new());
        }
        let (start, count) = (rows.start as u64, rows.len() as u64);
        let data = guard(|| path.to_owned(), || dataset.read_f32_rows(start, count))?;
        if data.len() != rows.len() * info.width() {
            let reason = format!("its header promises rows of {}, others are there", info.width());
            return Err(Hdf5Error::Damaged { item: path.to_owned(), reason });
        }
        Ok(data)
    }

    fn read_f64(&self, path: &str) -> Result<Array<f64>, Hdf5Error> {
        self.read(path, Element::is_numeric, NUMBERS, Dataset::read_f64)
    }

    fn read_text(&self, path: &str) -> Result<Array<String>, Hdf5Error> {
        self.read(
            path,
            |e| e == Element::Text,
            "text",
            |dataset| match dataset.dtype()? {
                DType::VariableLengthString => dataset
                    .read_vlen_strings(VlenStringReadOptions::new().with_max_payload_bytes(MAX_TEXT_BYTES)),
                _ => dataset.read_string(),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::{ChildKind, Hdf5File};
    use super::{half, open_within};

    /// Everything in a file, as text: NaN equals NaN there.
    fn dump(file: &dyn Hdf5File, group: &str, depth: usize, out: &mut Vec<String>) {
        out.push(format!("{group} {:?}", file.attributes(group, ChildKind::Group)));
        for (name, kind) in file.children(group).unwrap() {
            let path = if group.is_empty() { name } else { format!("{group}/{name}") };
            match kind {
                ChildKind::Group if depth < 5 => dump(file, &path, depth + 1, out),
                ChildKind::Group => {}
                ChildKind::Dataset => {
                    out.push(format!("{path} {:?} {:?}", file.read_f32(&path), file.read_text(&path)));
                }
            }
        }
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                all.extend(files(&path));
            } else if path.extension().is_some_and(|e| e == "hdf5" || e == "h5") {
                all.push(path);
            }
        }
        all
    }

    #[test]
    fn files_read_the_same_from_the_disk_as_from_memory() {
        let all = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"));
        assert!(all.len() > 20, "{all:?}");
        for path in all.iter().filter(|p| !p.ends_with("loops.hdf5")) {
            let (memory, disk) = (open_within(path, u64::MAX).unwrap(), open_within(path, 0).unwrap());
            assert_eq!((memory.1, memory.2), (disk.1, disk.2), "hash and length");
            let (mut a, mut b) = (Vec::new(), Vec::new());
            dump(&*memory.0, "", 0, &mut a);
            dump(&*disk.0, "", 0, &mut b);
            assert_eq!(a, b, "{}", path.display());
        }
    }

    #[test]
    fn halves_are_exact() {
        let cases = [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
        ];
        for (bits, value) in cases {
            assert_eq!(half(bits), value);
        }
        assert_eq!(half(0xfc00), f32::NEG_INFINITY);
        assert!(half(0x7e00).is_nan());
        assert_eq!(half(0x8000).to_bits(), (-0.0_f32).to_bits());
    }
}
