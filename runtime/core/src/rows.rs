//! Borrowed row-major blocks: `n` rows of `dim` numbers. One robot is `n = 1`.

/// `[n, dim]`, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    data: &'a [f32],
    dim: usize,
}

impl<'a> Rows<'a> {
    /// Rows of `dim` over `data`; a remainder shorter than a row is left out. `dim` 0 gives no rows.
    #[must_use]
    pub const fn new(data: &'a [f32], dim: usize) -> Self {
        Self { data, dim }
    }
    /// Number of rows.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.data.len().checked_div(self.dim) {
            Some(n) => n,
            None => 0,
        }
    }
    /// Whether there is no row.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Numbers in a row.
    #[must_use]
    pub const fn dim(&self) -> usize {
        self.dim
    }
    /// Row `i`, `[dim]`.
    #[must_use]
    pub fn row(&self, i: usize) -> &'a [f32] {
        &self.data[i * self.dim..(i + 1) * self.dim]
    }
    /// All numbers, `[n * dim]`.
    #[must_use]
    pub const fn data(&self) -> &'a [f32] {
        self.data
    }
}

/// `[n, dim]`, borrowed for writing.
#[derive(Debug)]
pub struct RowsMut<'a> {
    data: &'a mut [f32],
    dim: usize,
}

impl<'a> RowsMut<'a> {
    /// Rows of `dim` over `data`.
    #[must_use]
    pub const fn new(data: &'a mut [f32], dim: usize) -> Self {
        Self { data, dim }
    }
    /// The same rows, for a shorter time.
    #[must_use]
    pub const fn reborrow(&mut self) -> RowsMut<'_> {
        RowsMut { data: self.data, dim: self.dim }
    }
    /// Number of rows.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.data.len().checked_div(self.dim) {
            Some(n) => n,
            None => 0,
        }
    }
    /// Whether there is no row.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Numbers in a row.
    #[must_use]
    pub const fn dim(&self) -> usize {
        self.dim
    }
    /// Row `i`, `[dim]`.
    #[must_use]
    pub fn row(&mut self, i: usize) -> &mut [f32] {
        &mut self.data[i * self.dim..(i + 1) * self.dim]
    }
    /// All numbers, `[n * dim]`.
    #[must_use]
    pub fn data(&mut self) -> &mut [f32] {
        self.data
    }
}
