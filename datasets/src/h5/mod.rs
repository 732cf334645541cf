//! The little of HDF5 that datasets need, behind one trait with two backends.
//!
//! [`Backend::Pure`] is written in Rust and always there. [`Backend::LibHdf5`] is the reference C library behind the feature
//! `libhdf5`: it reads the exotic files that the pure backend names as such (soft and external links, virtual datasets).

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use surefoot_core::DataError;

use crate::input::PlainFile;

#[cfg(feature = "libhdf5")]
mod libhdf5;
mod pure;

/// Which code reads HDF5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// Pure Rust.
    #[default]
    Pure,
    /// The reference C library; needs the feature `libhdf5`.
    LibHdf5,
}

/// Type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Element {
    F16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    /// A two-valued enum, which is how h5py stores booleans, or any other enum.
    Bool,
    Text,
    /// Compound, reference, variable-length and other types, which are not read.
    Other,
}

impl Element {
    /// Whether it holds numbers or flags.
    #[must_use]
    pub const fn is_numeric(self) -> bool {
        !matches!(self, Self::Text | Self::Other)
    }
    /// Whether it holds numbers with a fraction.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::F32 | Self::F64)
    }
    /// The name numpy uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "float16",
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::Bool => "bool",
            Self::Text => "text",
            Self::Other => "other",
        }
    }
}

/// Shape and type of an array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArrayInfo {
    /// Extents, slowest first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Type.
    pub element: Element,
}

impl ArrayInfo {
    /// Rows: the first extent, 1 for a scalar.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }
    /// Numbers in a row: the product of the other extents.
    #[must_use]
    pub fn width(&self) -> usize {
        self.shape.iter().skip(1).fold(1, |n, d| n.saturating_mul(*d))
    }
}

/// An array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    /// Shape and stored type.
    pub info: ArrayInfo,
    /// Elements.
    pub data: Vec<T>,
}

/// What a group holds under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildKind {
    /// A group.
    Group,
    /// An array.
    Dataset,
}

/// A small value beside a group or an array.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// An integer, or a boolean as 0 or 1.
    Int(i128),
    /// A number.
    Float(f64),
    /// Text.
    Text(String),
    /// Several integers or booleans.
    Ints(Vec<i128>),
    /// Several numbers.
    Floats(Vec<f64>),
    /// Several texts.
    Texts(Vec<String>),
}

impl Attribute {
    /// As an integer; floats only where they are whole.
    #[must_use]
    pub fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(i) => Some(*i),
            Self::Float(f) if f.fract() == 0.0 && f.abs() < 9e15 => Some(*f as i128),
            Self::Ints(v) if v.len() == 1 => v.first().copied(),
            _ => None,
        }
    }
    /// As a count.
    #[must_use]
    pub fn as_count(&self) -> Option<usize> {
        self.as_int().and_then(|i| usize::try_from(i).ok())
    }
    /// As a flag: any integer, enum, float or the words `true` and `false`.
    #[must_use]
    pub fn as_flag(&self) -> Option<bool> {
        match self {
            Self::Text(t) if t.eq_ignore_ascii_case("true") => Some(true),
            Self::Text(t) if t.eq_ignore_ascii_case("false") => Some(false),
            other => other.as_int().map(|i| i != 0),
        }
    }
    /// As text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(t) => Some(t),
            Self::Texts(v) if v.len() == 1 => v.first().map(String::as_str),
            _ => None,
        }
    }
    /// As a list of texts.
    #[must_use]
    pub fn as_texts(&self) -> Option<Vec<String>> {
        match self {
            Self::Text(t) => Some(vec![t.clone()]),
            Self::Texts(v) => Some(v.clone()),
            _ => None,
        }
    }
    /// For people and for [`surefoot_core::Episode::attributes`]: text as it is, numbers and lists as JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        fn list<T: ToString>(items: &[T]) -> String {
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            format!("[{}]", items.join(","))
        }
        match self {
            Self::Int(i) => i.to_string(),
            Self::Float(f) => f.to_string(),
            Self::Text(t) => t.clone(),
            Self::Ints(v) => list(v),
            Self::Floats(v) => list(v),
            Self::Texts(v) => serde_json::to_string(v).unwrap_or_default(),
        }
    }
}

/// Attributes by name.
pub type Attributes = BTreeMap<String, Attribute>;

/// Why a backend cannot give something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Hdf5Error {
    /// There is nothing of that name.
    #[error("{item} is missing")]
    Missing {
        /// Path inside the file.
        item: String,
    },
    /// The file uses a part of HDF5 that this backend does not read.
    #[error("{item}: {what}")]
    Unsupported {
        /// Path inside the file.
        item: String,
        /// What it uses.
        what: String,
    },
    /// The array holds another type of elements.
    #[error("{item}: expected {expected}, found {}", found.name())]
    WrongType {
        /// Path inside the file.
        item: String,
        /// What was expected.
        expected: &'static str,
        /// What is there.
        found: Element,
    },
    /// The bytes are not what the format demands.
    #[error("{item}: {reason}")]
    Damaged {
        /// Path inside the file.
        item: String,
        /// What is wrong.
        reason: String,
    },
    /// A header claims more data than a file of this length can hold.
    #[error("{item}: its header claims {claimed} bytes, more than a file of {file} bytes can hold")]
    TooLarge {
        /// Path inside the file.
        item: String,
        /// Claimed size.
        claimed: u128,
        /// Length of the file.
        file: u64,
    },
    /// This program was built without the backend.
    #[error("this program was built without the libhdf5 backend")]
    NoBackend,
}

/// An open HDF5 file. Paths inside the file are written `data/demo_0/actions`, without a leading slash; `""` is the root.
pub trait Hdf5File: Send + Sync {
    /// What a group holds, by name. Links that the backend cannot follow are absent.
    ///
    /// # Errors
    /// When it is missing, not a group, or damaged.
    fn children(&self, group: &str) -> Result<BTreeMap<String, ChildKind>, Hdf5Error>;
    /// Attributes of a group or an array; those of exotic types are absent.
    ///
    /// # Errors
    /// When the object is missing or damaged.
    fn attributes(&self, object: &str, kind: ChildKind) -> Result<Attributes, Hdf5Error>;
    /// Shape and type of an array.
    ///
    /// # Errors
    /// When it is missing, not an array, damaged, or claims more than the file can hold.
    fn info(&self, dataset: &str) -> Result<ArrayInfo, Hdf5Error>;
    /// All of a numeric array, converted to `f32`.
    ///
    /// # Errors
    /// When it is missing, damaged, not numeric, or claims more than the file can hold.
    fn read_f32(&self, dataset: &str) -> Result<Array<f32>, Hdf5Error>;
    /// Some rows of a numeric array of at least one axis, converted to `f32`. A backend that cannot do better reads all of it.
    ///
    /// # Errors
    /// As [`read_f32`](Self::read_f32), and when it has fewer rows.
    fn read_f32_rows(&self, dataset: &str, rows: Range<usize>) -> Result<Vec<f32>, Hdf5Error> {
        let Array { info, mut data } = self.read_f32(dataset)?;
        let width = info.width();
        if rows.end > info.rows() || rows.start > rows.end {
            return Err(no_such_rows(dataset, &rows, &info));
        }
        data.truncate(rows.end * width);
        data.drain(..rows.start * width);
        Ok(data)
    }
    /// All of a numeric array, converted to `f64`: for times, of which `f32` keeps too little.
    ///
    /// # Errors
    /// As [`read_f32`](Self::read_f32).
    fn read_f64(&self, dataset: &str) -> Result<Array<f64>, Hdf5Error>;
    /// All of a text array.
    ///
    /// # Errors
    /// As [`read_f32`](Self::read_f32).
    fn read_text(&self, dataset: &str) -> Result<Array<String>, Hdf5Error>;
}

fn no_such_rows(item: &str, rows: &Range<usize>, info: &ArrayInfo) -> Hdf5Error {
    let reason = format!("rows {} to {} of {} were asked for", rows.start, rows.end, info.rows());
    Hdf5Error::Damaged { item: item.to_owned(), reason }
}

/// Refuses sizes that no file of `file` bytes can hold: deflate expands at most 1032-fold.
fn check_size(item: &str, count: u128, element_bytes: u64, file: u64) -> Result<(), Hdf5Error> {
    let claimed = count.saturating_mul(u128::from(element_bytes.max(1)));
    let limit = u128::from(file) * 1032;
    if claimed > limit {
        return Err(Hdf5Error::TooLarge { item: item.to_owned(), claimed, file });
    }
    Ok(())
}

/// How a refused array should be, for people.
pub(crate) const NUMBERS: &str = "numbers (write the array as float32)";

/// A file on disk, opened, hashed and ready to be read.
pub struct Container {
    path: PathBuf,
    hash: String,
    bytes: u64,
    file: Box<dyn Hdf5File>,
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container")
            .field("path", &self.path)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

impl Container {
    /// Opens and hashes a file.
    ///
    /// # Errors
    /// When it is not a regular file, cannot be read or is not HDF5.
    pub fn open(path: &Path, backend: Backend) -> Result<Self, DataError> {
        if !PlainFile::open(path)?.is_hdf5() {
            // Before all of it is read for its hash.
            return Err(DataError::Malformed {
                path: path.to_owned(),
                format: "hdf5",
                reason: "it does not start as an HDF5 file does (89 48 44 46 ...)".into(),
                hint: "is this the right file, and was it copied whole?",
            });
        }
        let (file, hash, bytes) = match backend {
            Backend::Pure => pure::open(path)?,
            #[cfg(feature = "libhdf5")]
            Backend::LibHdf5 => libhdf5::open(path)?,
            #[cfg(not(feature = "libhdf5"))]
            Backend::LibHdf5 => return Err(error_at(path, "hdf5", Hdf5Error::NoBackend)),
        };
        Ok(Self { path: path.to_owned(), hash, bytes, file })
    }
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Blake3 of its bytes.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }
    /// Its length.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
    /// What is in it.
    #[must_use]
    pub fn file(&self) -> &dyn Hdf5File {
        &*self.file
    }
    /// Turns a backend's error into the caller's, naming the file.
    #[must_use]
    pub fn error(&self, format: &'static str, error: Hdf5Error) -> DataError {
        error_at(&self.path, format, error)
    }
}

/// The hint for everything that only the C library reads.
const NEEDS_LIBHDF5: &str =
    "rebuild with `--features libhdf5` to read soft and external links, virtual datasets and rare filters";

pub(crate) fn error_at(path: &Path, format: &'static str, error: Hdf5Error) -> DataError {
    let path = path.to_owned();
    match error {
        Hdf5Error::Missing { item } => {
            DataError::Shape { path, item, expected: "present".into(), found: "nothing".into() }
        }
        Hdf5Error::WrongType { item, expected, found } => {
            let found = match found {
                Element::Other => "a compound, reference or other type that is not read",
                known => known.name(),
            };
            DataError::Shape { path, item, expected: expected.into(), found: found.into() }
        }
        Hdf5Error::Unsupported { .. } | Hdf5Error::NoBackend => {
            DataError::Malformed { path, format, reason: error.to_string(), hint: NEEDS_LIBHDF5 }
        }
        Hdf5Error::Damaged { .. } | Hdf5Error::TooLarge { .. } => DataError::Malformed {
            path,
            format,
            reason: error.to_string(),
            hint: "the file looks truncated or damaged: copy it again from its source",
        },
    }
}
