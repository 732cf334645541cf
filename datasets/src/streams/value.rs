//! A decoded message: borrowed where it can be, numbers as `f64`.

/// One message, or a part of one. Lives no longer than the bytes it was decoded from.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// A number or a flag (0, 1).
    Number(f64),
    /// Text, as bytes: producers do not always write UTF-8.
    Text(&'a [u8]),
    /// An array of numbers.
    Numbers(Numbers<'a>),
    /// An array of texts.
    Texts(Vec<&'a [u8]>),
    /// An array of anything else.
    List(Vec<Value<'a>>),
    /// Named parts, in order.
    Struct(Vec<(&'a str, Value<'a>)>),
    /// Nothing: an empty cell, a JSON null.
    Missing,
}

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Scalar {
    Bool,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
}

impl Scalar {
    /// Bytes of one.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// The number that the first bytes hold; NaN where there are too few.
    #[must_use]
    pub fn read(self, bytes: &[u8], big_endian: bool) -> f64 {
        macro_rules! take {
            ($t:ty) => {
                bytes.first_chunk().map_or(f64::NAN, |b| {
                    (if big_endian { <$t>::from_be_bytes(*b) } else { <$t>::from_le_bytes(*b) }) as f64
                })
            };
        }
        match self {
            Self::Bool => bytes.first().map_or(f64::NAN, |b| f64::from(u8::from(*b != 0))),
            Self::I8 => take!(i8),
            Self::U8 => take!(u8),
            Self::I16 => take!(i16),
            Self::U16 => take!(u16),
            Self::I32 => take!(i32),
            Self::U32 => take!(u32),
            Self::I64 => take!(i64),
            Self::U64 => take!(u64),
            Self::F32 => take!(f32),
            Self::F64 => take!(f64),
        }
    }
}

/// An array of numbers, as it lies in a message or as it was parsed.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers<'a> {
    /// Still in the message's bytes.
    Raw {
        /// How each is stored.
        scalar: Scalar,
        /// All of them.
        bytes: &'a [u8],
        /// Byte order.
        big_endian: bool,
    },
    /// Parsed.
    Parsed(Vec<f64>),
}

impl Numbers<'_> {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Raw { scalar, bytes, .. } => bytes.len() / scalar.bytes(),
            Self::Parsed(numbers) => numbers.len(),
        }
    }
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// One of them.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<f64> {
        match self {
            Self::Raw { scalar, bytes, big_endian } => {
                let width = scalar.bytes();
                let at = index.checked_mul(width)?;
                Some(scalar.read(bytes.get(at..at.checked_add(width)?)?, *big_endian))
            }
            Self::Parsed(numbers) => numbers.get(index).copied(),
        }
    }
}

impl<'a> Value<'a> {
    /// The part of this name.
    #[must_use]
    pub fn part(&self, name: &str) -> Option<&Value<'a>> {
        match self {
            Self::Struct(parts) => parts.iter().find(|(n, _)| *n == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Visits every number with its path, as a selection would name it: `header.stamp.sec`, `position[2]`.
    pub fn leaves(&self, visit: &mut dyn FnMut(&str, f64)) {
        self.walk(&mut String::new(), visit);
    }

    fn walk(&self, path: &mut String, visit: &mut dyn FnMut(&str, f64)) {
        let length = path.len();
        match self {
            Self::Number(x) => visit(path, *x),
            Self::Numbers(numbers) => {
                for i in 0..numbers.len() {
                    path.push_str(&format!("[{i}]"));
                    visit(path, numbers.get(i).unwrap_or(f64::NAN));
                    path.truncate(length);
                }
            }
            Self::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    path.push_str(&format!("[{i}]"));
                    item.walk(path, visit);
                    path.truncate(length);
                }
            }
            Self::Struct(parts) => {
                for (name, part) in parts {
                    if length > 0 {
                        path.push('.');
                    }
                    path.push_str(name);
                    part.walk(path, visit);
                    path.truncate(length);
                }
            }
            Self::Text(_) | Self::Texts(_) | Self::Missing => {}
        }
    }
}
