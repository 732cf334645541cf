//! Reading little-endian fields out of bytes that anybody may have sent.

use std::marker::PhantomData;

/// An error that can say that bytes end too early.
pub trait CutOff {
    /// `field` begins at byte `at` and has `wanted` bytes, of which `left` are there.
    fn cut_off(field: &'static str, at: usize, wanted: usize, left: usize) -> Self;
}

/// Reads from the front. Nothing is allocated before the bytes for it are known to be there.
#[derive(Debug)]
pub struct Reader<'a, E> {
    bytes: &'a [u8],
    at: usize,
    error: PhantomData<fn() -> E>,
}

/// Whatever the error is.
impl<E> Clone for Reader<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<E> Copy for Reader<'_, E> {}

impl<'a, E: CutOff> Reader<'a, E> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, error: PhantomData }
    }
    /// Where the next field begins.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }
    pub(crate) const fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn take(&mut self, field: &'static str, n: usize) -> Result<&'a [u8], E> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..n).ok_or_else(|| E::cut_off(field, self.at, n, rest.len()))?;
        self.at += n;
        Ok(taken)
    }
    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], E> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(field, N)?);
        Ok(array)
    }
    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, E> {
        Ok(self.array::<1>(field)?[0])
    }
    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, E> {
        self.array(field).map(u16::from_le_bytes)
    }
    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, E> {
        self.array(field).map(u32::from_le_bytes)
    }
    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, E> {
        self.array(field).map(u64::from_le_bytes)
    }
}
