//! How large networks and batches may be: a slip in a configuration is an error at its key, and no failed allocation later.

use super::mlp::MlpShape;

/// Widest hidden layer.
pub const MAX_WIDTH: usize = 8_192;
/// Most hidden layers.
pub const MAX_DEPTH: usize = 16;
/// Most parameters of an actor, or of all critics together: 256 MiB of weights, before moments and targets.
pub const MAX_PARAMETERS: usize = 1 << 26;
/// Most rows of a batch.
pub const MAX_BATCH: usize = 65_536;

/// Why hidden layers of these widths cannot be used.
#[must_use]
pub fn refuse_hidden(hidden: &[usize]) -> Option<String> {
    let fits = hidden.len() <= MAX_DEPTH && hidden.iter().all(|w| (1..=MAX_WIDTH).contains(w));
    (!fits).then(|| format!("must hold at most {MAX_DEPTH} widths of 1 to {MAX_WIDTH}, found {hidden:?}"))
}

/// Why `count` networks of a shape cannot be used; the shape's hidden layers have passed [`refuse_hidden`].
#[must_use]
pub fn refuse_parameters(shape: &MlpShape, count: usize) -> Option<String> {
    let parameters = shape.parameters().saturating_mul(count);
    (parameters > MAX_PARAMETERS)
        .then(|| format!("must make at most {MAX_PARAMETERS} parameters, makes {parameters}"))
}

/// Why a batch of this many rows cannot be used.
#[must_use]
pub fn refuse_batch(rows: usize) -> Option<String> {
    (!(1..=MAX_BATCH).contains(&rows)).then(|| format!("must be 1 to {MAX_BATCH} rows, found {rows}"))
}
