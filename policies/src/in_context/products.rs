//! Matrix products over parts of slices.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// `[rows, columns]` of a slice by rows of `stride`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    stride: usize,
    turned: bool,
}

impl<'a> View<'a> {
    /// All of a slice, `columns` in a row.
    pub fn rows(data: &'a [f32], columns: usize) -> Self {
        Self { data, rows: data.len() / columns, columns, stride: columns, turned: false }
    }
    /// `columns` of each of `rows`, which are `stride` numbers apart; `data` begins with the first number.
    pub const fn part(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        Self { data, rows, columns, stride, turned: false }
    }
    /// Rows for columns.
    pub const fn t(self) -> Self {
        Self { turned: !self.turned, ..self }
    }
    fn mat(self) -> MatRef<'a, f32> {
        let Self { data, rows, columns, stride, turned } = self;
        let data = &data[..((rows - 1) * stride + columns).min(data.len())];
        let mat = MatRef::from_row_major_slice_with_stride(data, rows, columns, stride);
        if turned { mat.transpose() } else { mat }
    }
}

/// `out <- scale left right`, or added to it. `out` is a part of rows of `stride`.
pub fn product(
    out: &mut [f32],
    stride: usize,
    accumulate: bool,
    left: View<'_>,
    right: View<'_>,
    scale: f32,
) {
    let rows = if left.turned { left.columns } else { left.rows };
    let columns = if right.turned { right.rows } else { right.columns };
    if rows == 0 || columns == 0 {
        return;
    }
    let len = ((rows - 1) * stride + columns).min(out.len());
    // faer's constructor by rows with a stride takes rows for columns.
    let out = MatMut::from_column_major_slice_with_stride_mut(&mut out[..len], columns, rows, stride)
        .transpose_mut();
    let accumulate = if accumulate { Accum::Add } else { Accum::Replace };
    matmul(out, accumulate, left.mat(), right.mat(), scale, Par::Seq);
}
