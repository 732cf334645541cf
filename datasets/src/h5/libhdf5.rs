//! The reference C library as backend: slower to build and serialised by a global lock, but it follows links, assembles virtual
//! datasets, and is the oracle that the pure backend is tested against.

use std::collections::BTreeMap;
use std::path::Path;

use hdf5::dataset::Layout;
use hdf5::types::{
    FixedAscii, FixedUnicode, FloatSize, H5Type, IntSize, TypeDescriptor, VarLenAscii, VarLenUnicode,
};
use hdf5::{Container as Object, Dataset, File, Group, LocationType};
use surefoot_core::DataError;

use super::{
    Array, ArrayInfo, Attribute, Attributes, ChildKind, Element, Hdf5Error, Hdf5File, NUMBERS, check_size,
    error_at,
};

/// Fixed-length text up to this many bytes is read: names, not documents.
const FIXED_TEXT_BYTES: usize = 1024;

struct CFile {
    file: File,
    bytes: u64,
}

pub(super) fn open(path: &Path) -> Result<(Box<dyn Hdf5File>, String, u64), DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let mut handle = std::fs::File::open(path).map_err(io)?;
    let mut hasher = blake3::Hasher::new();
    let bytes = std::io::copy(&mut handle, &mut hasher).map_err(io)?;
    let file = File::open(path).map_err(|e| error_at(path, "hdf5", damaged("/", &e)))?;
    Ok((Box::new(CFile { file, bytes }), hasher.finalize().to_hex().to_string(), bytes))
}

fn damaged(item: &str, error: &hdf5::Error) -> Hdf5Error {
    Hdf5Error::Damaged { item: item.to_owned(), reason: error.to_string() }
}

fn element(descriptor: &TypeDescriptor) -> Element {
    use IntSize::{U1, U2, U4, U8};
    match descriptor {
        TypeDescriptor::Integer(U1) => Element::I8,
        TypeDescriptor::Integer(U2) => Element::I16,
        TypeDescriptor::Integer(U4) => Element::I32,
        TypeDescriptor::Integer(U8) => Element::I64,
        TypeDescriptor::Unsigned(U1) => Element::U8,
        TypeDescriptor::Unsigned(U2) => Element::U16,
        TypeDescriptor::Unsigned(U4) => Element::U32,
        TypeDescriptor::Unsigned(U8) => Element::U64,
        TypeDescriptor::Float(FloatSize::U2) => Element::F16,
        TypeDescriptor::Float(FloatSize::U4) => Element::F32,
        TypeDescriptor::Float(FloatSize::U8) => Element::F64,
        TypeDescriptor::Boolean | TypeDescriptor::Enum(_) => Element::Bool,
        TypeDescriptor::FixedAscii(_)
        | TypeDescriptor::FixedUnicode(_)
        | TypeDescriptor::VarLenAscii
        | TypeDescriptor::VarLenUnicode => Element::Text,
        _ => Element::Other,
    }
}

/// Text of any kind, array or attribute.
fn texts(object: &Object, item: &str) -> Result<Vec<String>, Hdf5Error> {
    fn read<T: H5Type + ToString>(object: &Object) -> Result<Vec<String>, hdf5::Error> {
        Ok(object.as_reader().read_raw::<T>()?.iter().map(ToString::to_string).collect())
    }
    let fail = |e: hdf5::Error| damaged(item, &e);
    let descriptor = object.dtype().and_then(|t| t.to_descriptor()).map_err(fail)?;
    match descriptor {
        TypeDescriptor::FixedAscii(n) if n <= FIXED_TEXT_BYTES => {
            read::<FixedAscii<FIXED_TEXT_BYTES>>(object)
        }
        TypeDescriptor::FixedUnicode(n) if n <= FIXED_TEXT_BYTES => {
            read::<FixedUnicode<FIXED_TEXT_BYTES>>(object)
        }
        TypeDescriptor::VarLenAscii => read::<VarLenAscii>(object),
        TypeDescriptor::VarLenUnicode => read::<VarLenUnicode>(object),
        other => {
            let what =
                format!("text of type {other} is longer than {FIXED_TEXT_BYTES} bytes or of another kind");
            return Err(Hdf5Error::Unsupported { item: item.to_owned(), what });
        }
    }
    .map_err(fail)
}

/// Integers of any width; booleans as 0 and 1.
fn integers(object: &Object, element: Element) -> Result<Vec<i128>, hdf5::Error> {
    Ok(match element {
        Element::U64 => object.as_reader().read_raw::<u64>()?.into_iter().map(i128::from).collect(),
        _ => small_integers(object)?.into_iter().map(i128::from).collect(),
    })
}

fn small_integers(object: &Object) -> Result<Vec<i64>, hdf5::Error> {
    if matches!(object.dtype()?.to_descriptor()?, TypeDescriptor::Boolean) {
        return Ok(object.as_reader().read_raw::<bool>()?.into_iter().map(i64::from).collect());
    }
    object.as_reader().read_raw::<i64>()
}

fn attribute(object: &Object, item: &str) -> Option<Attribute> {
    let element = element(&object.dtype().and_then(|t| t.to_descriptor()).ok()?);
    let scalar = object.ndim() == 0;
    Some(if element == Element::Text {
        let mut v = texts(object, item).ok()?;
        if scalar { Attribute::Text(v.pop()?) } else { Attribute::Texts(v) }
    } else if element.is_float() {
        let mut v = object.as_reader().read_raw::<f64>().ok()?;
        if scalar { Attribute::Float(v.pop()?) } else { Attribute::Floats(v) }
    } else if element == Element::Other {
        return None;
    } else {
        let mut v = integers(object, element).ok()?;
        if scalar { Attribute::Int(v.pop()?) } else { Attribute::Ints(v) }
    })
}

impl CFile {
    fn group(&self, path: &str) -> Result<Group, Hdf5Error> {
        if path.is_empty() {
            return self.file.as_group().map_err(|e| damaged("/", &e));
        }
        self.file.group(path).map_err(|e| self.explain(path, &e))
    }

    /// A name that is not there is another error than one that cannot be read.
    fn explain(&self, path: &str, error: &hdf5::Error) -> Hdf5Error {
        match path.rsplit_once('/') {
            Some((parent, name)) if self.file.group(parent).is_ok_and(|g| g.link_exists(name)) => {
                damaged(path, error)
            }
            None if self.file.link_exists(path) => damaged(path, error),
            _ => Hdf5Error::Missing { item: path.to_owned() },
        }
    }

    fn dataset(&self, path: &str) -> Result<(Dataset, ArrayInfo), Hdf5Error> {
        let dataset = self.file.dataset(path).map_err(|e| self.explain(path, &e))?;
        let descriptor = dataset.dtype().and_then(|t| t.to_descriptor());
        // Types that this crate has no name for are not read, but may stand in a file.
        let info =
            ArrayInfo { shape: dataset.shape(), element: descriptor.map_or(Element::Other, |d| element(&d)) };
        let count = info.shape.iter().fold(1_u128, |n, d| n.saturating_mul(*d as u128));
        if dataset.layout() != Layout::Virtual {
            // Behind an external link stands another file.
            let bytes = std::fs::metadata(dataset.filename()).map_or(self.bytes, |m| m.len());
            let size = dataset.dtype().map_or(1, |t| t.size() as u64);
            check_size(path, count, size, bytes)?;
        }
        Ok((dataset, info))
    }

    fn read<T>(
        &self,
        path: &str,
        accept: impl Fn(Element) -> bool,
        expected: &'static str,
        read: impl FnOnce(&Dataset) -> Result<Vec<T>, Hdf5Error>,
    ) -> Result<Array<T>, Hdf5Error> {
        let (dataset, info) = self.dataset(path)?;
        if !accept(info.element) {
            return Err(Hdf5Error::WrongType { item: path.to_owned(), expected, found: info.element });
        }
        // The length of a file does not bound a virtual dataset: it is refused where memory would not hold it.
        let count = info.shape.iter().fold(1_u128, |n, d| n.saturating_mul(*d as u128));
        if !usize::try_from(count).is_ok_and(|n| Vec::<T>::new().try_reserve_exact(n).is_ok()) {
            let claimed = count.saturating_mul(size_of::<T>() as u128);
            return Err(Hdf5Error::TooLarge { item: path.to_owned(), claimed, file: self.bytes });
        }
        let data = if count == 0 { Vec::new() } else { read(&dataset)? };
        Ok(Array { info, data })
    }
}

impl Hdf5File for CFile {
    fn children(&self, path: &str) -> Result<BTreeMap<String, ChildKind>, Hdf5Error> {
        let group = self.group(path)?;
        let names = group.member_names().map_err(|e| damaged(path, &e))?;
        let mut children = BTreeMap::new();
        for name in names {
            let kind = group.loc_type_by_name(&name).map_err(|e| {
                let reason = format!("the link leads nowhere ({e})");
                Hdf5Error::Damaged { item: format!("{path}/{name}"), reason }
            })?;
            match kind {
                LocationType::Group => children.insert(name, ChildKind::Group),
                LocationType::Dataset => children.insert(name, ChildKind::Dataset),
                _ => None,
            };
        }
        Ok(children)
    }

    fn attributes(&self, path: &str, kind: ChildKind) -> Result<Attributes, Hdf5Error> {
        let fail = |e: hdf5::Error| damaged(path, &e);
        let read = |location: &hdf5::Location| -> Result<Attributes, Hdf5Error> {
            let mut attributes = Attributes::new();
            for name in location.attr_names().map_err(fail)? {
                let object = location.attr(&name).map_err(fail)?;
                if let Some(value) = attribute(&object, &name) {
                    attributes.insert(name, value);
                }
            }
            Ok(attributes)
        };
        match kind {
            ChildKind::Group => read(&*self.group(path)?),
            ChildKind::Dataset => read(&self.dataset(path)?.0),
        }
    }

    fn info(&self, path: &str) -> Result<ArrayInfo, Hdf5Error> {
        Ok(self.dataset(path)?.1)
    }

    fn read_f32(&self, path: &str) -> Result<Array<f32>, Hdf5Error> {
        self.read(path, Element::is_numeric, NUMBERS, |d| {
            let flags = matches!(
                d.dtype().and_then(|t| t.to_descriptor()),
                Ok(TypeDescriptor::Boolean | TypeDescriptor::Enum(_))
            );
            if flags {
                return Ok(small_integers(d)
                    .map_err(|e| damaged(path, &e))?
                    .into_iter()
                    .map(|i| i as f32)
                    .collect());
            }
            d.as_reader().read_raw::<f32>().map_err(|e| damaged(path, &e))
        })
    }

    fn read_f64(&self, path: &str) -> Result<Array<f64>, Hdf5Error> {
        self.read(
            path,
            |e| e.is_numeric() && e != Element::Bool,
            NUMBERS,
            |d| d.as_reader().read_raw::<f64>().map_err(|e| damaged(path, &e)),
        )
    }

    fn read_text(&self, path: &str) -> Result<Array<String>, Hdf5Error> {
        self.read(path, |e| e == Element::Text, "text", |d| texts(d, path))
    }
}
