//! How fields stand in a message: one after the other, little-endian.

use super::Reader;
use crate::error::{Refusal, WireError};

/// Longest text in a message, bytes.
pub(super) const MAX_TEXT: usize = 200;
/// Longest row of numbers in a message.
const MAX_ROW: usize = 1024;

/// Something that stands in a message.
pub trait Layout: Sized {
    /// Appends it to `out`.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes it from `from`, where it is called `field`.
    ///
    /// # Errors
    /// When the bytes there are no such thing.
    fn take(from: &mut Reader<'_>, field: &'static str) -> Result<Self, WireError>;
}

macro_rules! numbers {
    ($($number:ident),+) => {$(
        impl Layout for $number {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(from: &mut Reader<'_>, field: &'static str) -> Result<Self, WireError> {
                from.array(field).map(Self::from_le_bytes)
            }
        }
    )+};
}

numbers!(u32, u64, i64);

impl Layout for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(from: &mut Reader<'_>, field: &'static str) -> Result<Self, WireError> {
        match from.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(WireError::Code { what: field, found: u64::from(other) }),
        }
    }
}

impl Layout for [u8; 32] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn take(from: &mut Reader<'_>, field: &'static str) -> Result<Self, WireError> {
        from.array(field)
    }
}

/// A text that is too long is cut.
impl Layout for String {
    fn put(&self, out: &mut Vec<u8>) {
        let mut end = self.len().min(MAX_TEXT);
        while !self.is_char_boundary(end) {
            end -= 1;
        }
        // At most MAX_TEXT.
        out.push(end as u8);
        out.extend_from_slice(&self.as_bytes()[..end]);
    }
    fn take(from: &mut Reader<'_>, field: &'static str) -> Result<Self, WireError> {
        let length = usize::from(from.u8(field)?);
        let text = from.take(field, length)?;
        std::str::from_utf8(text)
            .map(ToOwned::to_owned)
            .map_err(|e| WireError::Malformed { what: field, reason: e.to_string() })
    }
}

/// A row of numbers; one that is too long is cut.
impl Layout for Vec<f32> {
    fn put(&self, out: &mut Vec<u8>) {
        let row = &self[..self.len().min(MAX_ROW)];
        // At most MAX_ROW.
        out.extend_from_slice(&(row.len() as u32).to_le_bytes());
        out.extend(row.iter().flat_map(|x| x.to_le_bytes()));
    }
    fn take(from: &mut Reader<'_>, field: &'static str) -> Result<Self, WireError> {
        let length = from.u32(field)? as usize;
        let left = from.left() / 4;
        if length > MAX_ROW || length > left {
            return Err(WireError::Length { what: field, expected: left.min(MAX_ROW), found: length });
        }
        (0..length).map(|_| from.array(field).map(f32::from_le_bytes)).collect()
    }
}

impl Layout for Option<Refusal> {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(Refusal::code(*self));
    }
    fn take(from: &mut Reader<'_>, field: &'static str) -> Result<Self, WireError> {
        Refusal::of(from.u8(field)?)
    }
}

/// The fields of a message in their order, each with what it is called in errors; and what the message is called, where it is a whole one.
macro_rules! layout {
    ($name:ident { $($field:ident: $label:literal,)+ }) => {
        impl $crate::wire::Layout for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),+ } = self;
                $($crate::wire::Layout::put($field, out);)+
            }
            fn take(
                from: &mut $crate::wire::Reader<'_>,
                _field: &'static str,
            ) -> Result<Self, $crate::error::WireError> {
                Ok(Self { $($field: $crate::wire::Layout::take(from, $label)?,)+ })
            }
        }
    };
    ($name:ident, $what:literal { $($field:ident: $label:literal,)+ }) => {
        $crate::wire::layout::layout!($name { $($field: $label,)+ });
        impl $crate::wire::Message for $name {
            const WHAT: &'static str = $what;
        }
    };
}

/// An enumeration of one byte.
macro_rules! codes {
    ($(#[$meta:meta])* $name:ident, $what:literal { $( $(#[$doc:meta])* $variant:ident = $code:literal, )+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $( $(#[$doc])* $variant, )+ }

        impl $crate::wire::Layout for $name {
            fn put(&self, out: &mut Vec<u8>) {
                out.push(self.code());
            }
            fn take(
                from: &mut $crate::wire::Reader<'_>,
                field: &'static str,
            ) -> Result<Self, $crate::error::WireError> {
                Self::of(from.u8(field)?)
            }
        }

        impl $name {
            /// Every one, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its byte on the wire.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $( Self::$variant => $code, )+ }
            }
            /// What a byte stands for.
            ///
            /// # Errors
            /// When it stands for nothing.
            pub fn of(code: u8) -> Result<Self, $crate::error::WireError> {
                match code {
                    $( $code => Ok(Self::$variant), )+
                    other => Err($crate::error::WireError::Code { what: $what, found: u64::from(other) }),
                }
            }
        }
    };
}

pub(super) use {codes, layout};
