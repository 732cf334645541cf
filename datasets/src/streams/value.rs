//! A decoded message: borrowed where it can be, numbers as `f64`.

pub use surefoot_core::ros::Scalar;

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
